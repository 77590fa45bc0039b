#include "api/change.h"

#include "api/dry_run.h"
#include "api/policy_api.h"
#include "api/server.h"
#include "base/cleanup.h"
#include "policy/policy_json.h"
#include "policy/policy_log.h"

#include <stdio.h>
#include <string.h>

/* Below the connection limit, so that a loop that hangs leaves connections for /healthz. */
#define WAITING_MAX 64

bool change_refuse(struct api *api, struct request *request, unsigned status, const char *line)
{
    request_answer_line(request, status, line);
    if (request->dry_run)
        return false;
    if (log_begin(api->log, status >= 500 ? LOG_ERROR : LOG_WARN, LOG_UPDATE_FAILED, "egress policy update failed")) {
        log_str(api->log, "error", line, strlen(line));
        log_end(api->log);
    }
    return false;
}

static void refuse_because(struct change *change, const char *what, const char *reason)
{
    char line[2 * WHY_MAX + 128];
    snprintf(line, sizeof(line), "%s: %s", what, reason);
    change_refuse(change->api, change->request, MHD_HTTP_INTERNAL_SERVER_ERROR, line);
}

static void record_update(const struct change *change)
{
    struct log *log = change->api->log;
    if (!log_begin(log, LOG_INFO, LOG_UPDATED, "egress policy updated"))
        return;
    const char *action = policy_default(change->next) == ACTION_ALLOW ? "allow" : "deny";
    log_str(log, "egress.default", action, strlen(action));
    policy_log_rules(log, change->rules.data, change->rules.len, change->n_rules);
    log_end(log);
}

/* The loop's thread. */
static void on_answered(struct policy_change *letter)
{
    struct change *change = (struct change *)letter; /* its first member */
    mailbox_post(change->api->mailbox, &change->verdict);
}

static void on_verdict(struct mail *mail, void *ctx);

static void post(struct change *change, struct policy *policy)
{
    struct api *api = change->api;
    change->letter = (struct policy_change){.next = policy,
                                            .settled = change->settling,
                                            .back = change->reverting,
                                            .dry_run = change->request->dry_run,
                                            .answered = on_answered};
    change->verdict = (struct mail){.deliver = on_verdict};
    api->changes.busy = true;
    api->hooks.change(api->hooks.ctx, &change->letter);
}

/* False: the request is answered. */
static bool write_aside(struct change *change)
{
    const char *path = change->api->settings.policy_file;
    if (!path)
        return true;
    _cleanup_buf_ struct buf json = {0};
    policy_to_json(change->next, &json);
    buf_putc(&json, '\n');
    struct why why = {0};
    if (json.failed)
        why_set(&why, 0, "out of memory");
    else if (file_replacement_prepare(path, json.data, json.len, &change->file, &why) == 0)
        return true;
    refuse_because(change, "failed to persist policy", why.text);
    return false;
}

static bool precondition_holds(struct api *api, const struct request *request)
{
    const char *field = request_header(request, MHD_HTTP_HEADER_IF_MATCH);
    return !field || (current_render(&api->current) == 0 && etag_listed(field, api->current.etag, true));
}

static void release(struct change *change)
{
    struct request *request = change->request;
    policy_unref(change->next);
    file_replacement_abort(change->file);
    buf_done(&change->rules);
    forecast_done(&change->letter.forecast);
    change->api->changes.busy = false;
    server_resume(request);
}

/* Takes up the request whose turn it is. One at a time: each may take its time, and others want /healthz. */
static void advance(struct api *api)
{
    struct change_queue *queue = &api->changes;
    if (queue->busy || !queue->first)
        return;
    struct request *request = queue->first;
    queue->first = request->next_waiting;
    queue->n_waiting--;
    struct change *change = &queue->under_way;
    *change = (struct change){.api = api, .request = request};
    if (!precondition_holds(api, request))
        request_answer_line(request, MHD_HTTP_PRECONDITION_FAILED, "the policy is not the one named by If-Match");
    else if (request->make(api, request, change) && (request->dry_run || write_aside(change))) {
        post(change, change->next);
        return;
    }
    release(change);
    if (queue->first && loop_timer_set(api->loop, &queue->again, 0))
        advance(api);
}

static void again_fired(struct loop_timer *timer)
{
    advance(timer->owner);
}

void change_queue_init(struct api *api)
{
    api->changes.again = (struct loop_timer){.fire = again_fired, .owner = api};
}

/* True: the loop has to be told more. */
static bool conclude(struct change *change)
{
    struct api *api = change->api;
    if (change->request->dry_run) {
        dry_run_answer(change);
        return false;
    }
    if (change->settling) {
        policy_api_answer(api, change->request, change->reset ? POLICY_RESET : NULL, !change->reset);
        return false;
    }
    if (change->reverting) {
        char reason[2 * WHY_MAX + 64];
        snprintf(reason, sizeof(reason), "%s%s%s", change->why_back.text,
                 change->letter.error ? "; and the old policy could not be applied again: " : "",
                 change->letter.error ? change->letter.why.text : "");
        refuse_because(change, "failed to persist policy", reason);
        return false;
    }
    if (change->letter.error) {
        refuse_because(change, "failed to apply nftables policy", change->letter.why.text);
        return false;
    }
    if (change->file && file_replacement_commit(take_pointer(change->file), &change->why_back)) {
        change->reverting = true;
        return true;
    }
    current_set(&api->current, change->next);
    record_update(change);
    change->settling = true;
    return true;
}

static void on_verdict(struct mail *mail, void *ctx)
{
    struct api *api = ctx;
    struct change *change = &api->changes.under_way;
    if (conclude(change)) {
        post(change, api->current.policy);
        return;
    }
    release(change);
    advance(api);
}

void change_submit(struct api *api, struct request *request, change_maker *make)
{
    struct change_queue *queue = &api->changes;
    if (api->out_of_time) {
        change_refuse(api, request, MHD_HTTP_SERVICE_UNAVAILABLE, "the sidecar is stopping");
        return;
    }
    if (queue->n_waiting == WAITING_MAX) {
        change_refuse(api, request, MHD_HTTP_SERVICE_UNAVAILABLE, "too many policy changes at once");
        return;
    }
    request->make = make;
    request->next_waiting = NULL;
    if (queue->first)
        queue->last->next_waiting = request;
    else
        queue->first = request;
    queue->last = request;
    queue->n_waiting++;
    advance(api);
}

void change_cancel_waiting(struct api *api)
{
    struct change_queue *queue = &api->changes;
    while (queue->first) {
        struct request *request = queue->first;
        queue->first = request->next_waiting;
        queue->n_waiting--;
        change_refuse(api, request, MHD_HTTP_SERVICE_UNAVAILABLE, "the sidecar is stopping");
        server_resume(request);
    }
}
