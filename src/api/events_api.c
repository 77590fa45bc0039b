#include "api/events_api.h"

#include "api/server.h"
#include "base/recent.h"
#include "base/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define DIGITS_MAX 18 /* of a number that fits */

static void answer(struct api *api, struct request *request)
{
    struct buf body = {0};
    recent_json(api->settings.recent, request->after, loop_now(api->loop), &body);
    request_answer_large(request, &body);
    request_answer_header(request, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
}

static void set_due(struct api *api, uint64_t due_ns)
{
    struct loop_timer *due = &api->waiters.due;
    if (due->heap_at && due->due_ns <= due_ns)
        return;
    /* Without memory for the timer they wait until the next event. */
    loop_timer_set(api->loop, due, due_ns);
}

/* Answers those of the list whose time has come, for whom there is something, or that are too many; and makes sure of
 * the others. */
static void settle(struct api *api, struct waiting_list *list, unsigned max)
{
    struct request **link = &list->first, *request;
    list->last = NULL;
    while ((request = *link)) {
        if (list->n <= max && request->wait_until_ns > loop_now(api->loop) &&
            !recent_has(api->settings.recent, request->after)) {
            set_due(api, request->wait_until_ns);
            list->last = request;
            link = &request->next_waiting;
            continue;
        }
        *link = request->next_waiting;
        list->n--;
        answer(api, request);
        server_resume(request);
    }
}

static void settle_all(struct api *api, unsigned max)
{
    for (size_t i = 0; i < CONNECTION_SIDES; i++)
        settle(api, &api->waiters.shares[i], max);
}

/* Those who wait make room for nobody: the others need connections, too. */
static unsigned waiting_max(const struct api *api)
{
    unsigned half = api->settings.connections / 2;
    return half < EVENTS_WAITING_MAX ? half : EVENTS_WAITING_MAX;
}

static void on_due(struct loop_timer *timer)
{
    struct api *api = timer->owner;
    settle_all(api, waiting_max(api));
}

static void on_news(struct mail *mail, void *ctx)
{
    struct api *api = ctx;
    api->waiters.called = false;
    set_due(api, loop_now(api->loop) + EVENTS_GATHER_MS * NS_PER_MS);
}

static void wait_for_events(struct api *api, struct request *request)
{
    struct event_waiters *waiters = &api->waiters;
    struct waiting_list *list = &waiters->shares[connection_side(request->connection)];
    *(list->last ? &list->last->next_waiting : &list->first) = request;
    list->last = request;
    list->n++;
    if (!waiters->called)
        recent_call(api->settings.recent, api->mailbox, &waiters->news);
    waiters->called = true;
    settle(api, list, waiting_max(api)); /* an event may have come since it was asked for them */
}

static bool parse_number(struct request *request, const char *name, uint64_t max, const char *expected, bool *ret_given,
                         uint64_t *ret)
{
    const char *text;
    *ret_given = request_argument(request, name, &text);
    if (!*ret_given)
        return true;
    size_t digits = strspn(text, "0123456789");
    uint64_t value = digits && digits <= DIGITS_MAX && !text[digits] ? strtoull(text, NULL, 10) : UINT64_MAX;
    if (value > max) {
        request_answer_line(request, MHD_HTTP_BAD_REQUEST, expected);
        return false;
    }
    *ret = value;
    return true;
}

void events_api_get(struct api *api, struct request *request)
{
    uint64_t wait_s = EVENTS_WAIT_MAX_S;
    uint64_t started = 0;
    bool has_after, has_wait, has_started;
    if (!parse_number(request, "after", INT64_MAX, "after: expected the number of an event", &has_after,
                      &request->after) ||
        !parse_number(request, "wait", EVENTS_WAIT_MAX_S, "wait: expected 0 to 25 seconds", &has_wait, &wait_s) ||
        !parse_number(request, "started", INT64_MAX, "started: expected a number", &has_started, &started))
        return;
    if (has_started && started != recent_started(api->settings.recent)) {
        request->after = 0; /* the number is one of an earlier start, though there may be such a number now, too */
        has_after = false;
    }
    if (has_after && wait_s && !api->stopping && !recent_has(api->settings.recent, request->after)) {
        request->wait_until_ns = loop_now(api->loop) + wait_s * NS_PER_S;
        wait_for_events(api, request);
    } else {
        answer(api, request);
    }
}

void events_api_init(struct api *api)
{
    api->waiters.due = (struct loop_timer){.fire = on_due, .owner = api};
    api->waiters.news.deliver = on_news;
}

void events_api_stop(struct api *api)
{
    settle_all(api, 0);
}
