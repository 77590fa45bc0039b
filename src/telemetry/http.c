#include "telemetry/http.h"

#include "base/cleanup.h"
#include "base/curl.h"
#include "telemetry/hosts.h"
#include "telemetry/http_transfer.h"
#include "telemetry/tls_files.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>

#define KEPT_CONNECTIONS_MAX 8L

TAILQ_HEAD(transfers, http_transfer);

struct http {
    struct http_settings settings;
    struct hosts *hosts;
    struct transfers waiting; /* for addresses */
    struct transfers running;
    size_t n_running, n_waiting;
    bool loaded; /* libcurl */
    struct curl curl;
    CURLM *multi;  /* while there are posts and connections */
    bool outdated; /* the kept connections were made with files that are others now */
    struct tls_files files;
};

int http_new(const struct http_settings *settings, struct http **ret)
{
    struct http *http = calloc(1, sizeof(*http));
    if (!http)
        return -ENOMEM;
    http->settings = *settings;
    TAILQ_INIT(&http->waiting);
    TAILQ_INIT(&http->running);
    int error = hosts_new(&settings->names, settings->wake_fd, &http->hosts);
    if (error) {
        free(http);
        return error;
    }
    *ret = http;
    return 0;
}

int http_load(struct http *http, struct why *why)
{
    if (http->loaded)
        return 0;
    struct why reason;
    int error = curl_load(&http->curl, &reason);
    http->loaded = !error;
    return error ? why_set(why, error, "a webhook or OTLP endpoint is set, and %s", reason.text) : 0;
}

static void forget_connections(struct http *http)
{
    if (http->multi)
        http->curl.multi_cleanup(http->multi);
    http->multi = NULL;
    http->outdated = false;
}

static int need_multi(struct http *http)
{
    if (!http->multi && !(http->multi = http->curl.multi_init()))
        return -ENOMEM;
    http->curl.multi_setopt(http->multi, CURLMOPT_MAXCONNECTS, KEPT_CONNECTIONS_MAX);
    return 0;
}

/* Takes the transfer off its list; the post may be started again then. */
static void detach(struct http *http, struct http_transfer *transfer)
{
    if (transfer->easy) {
        http->curl.multi_remove_handle(http->multi, transfer->easy);
        TAILQ_REMOVE(&http->running, transfer, link);
        http->n_running--;
    } else {
        TAILQ_REMOVE(&http->waiting, transfer, link);
        http->n_waiting--;
    }
    transfer->post->transfer = NULL;
}

static void cancel_all(struct http *http, struct transfers *list)
{
    struct http_transfer *transfer;
    while ((transfer = TAILQ_FIRST(list)))
        http_post_cancel(http, transfer->post);
}

void http_free(struct http *http)
{
    if (!http)
        return;
    cancel_all(http, &http->running);
    cancel_all(http, &http->waiting);
    forget_connections(http);
    if (http->loaded)
        http->curl.global_cleanup();
    hosts_free(http->hosts);
    free(http);
}

void http_post_cancel(struct http *http, struct http_post *post)
{
    struct http_transfer *transfer = post->transfer;
    if (!transfer)
        return;
    detach(http, transfer);
    http_transfer_free(transfer);
}

size_t http_busy(const struct http *http)
{
    return http->n_running + http->n_waiting;
}

/* --- starting --- */

static unsigned left_ms(const struct http_transfer *transfer, uint64_t now_ns)
{
    if (!transfer->post->timeout_ms)
        return 0;
    return transfer->end_ns > now_ns + NS_PER_MS ? (unsigned)((transfer->end_ns - now_ns) / NS_PER_MS) : 1;
}

/* The address is known: libcurl takes over. */
static int run(struct http *http, struct http_transfer *transfer, const struct lookup *addresses, uint64_t now_ns)
{
    const struct http_post *post = transfer->post;
    bool changed = tls_files_changed(&http->files, post->ca);
    changed |= tls_files_changed(&http->files, post->cert);
    changed |= tls_files_changed(&http->files, post->key);
    http->outdated |= changed && http->multi;
    if (http->outdated && !http->n_running)
        forget_connections(http);
    int error = need_multi(http);
    if (!error)
        error = http_transfer_prepare(transfer, addresses, left_ms(transfer, now_ns), http->outdated);
    if (!error && http->curl.multi_add_handle(http->multi, transfer->easy))
        error = -ENOMEM;
    if (error) {
        http_transfer_drop(transfer);
        return error;
    }
    TAILQ_REMOVE(&http->waiting, transfer, link);
    http->n_waiting--;
    TAILQ_INSERT_TAIL(&http->running, transfer, link);
    http->n_running++;
    return 0;
}

/* Asks for the address of a host and, when it is known, sends. 0 also while it is awaited. */
static int move_on(struct http *http, struct http_transfer *transfer, const char **ret_error)
{
    uint64_t now_ns = clock_monotonic_ns();
    const struct lookup *addresses = NULL;
    transfer->moved = true;
    if (!transfer->url.literal) {
        int error = hosts_find(http->hosts, transfer->url.host, now_ns, &addresses, ret_error);
        if (error == -EINPROGRESS && (!transfer->post->timeout_ms || now_ns < transfer->end_ns))
            return 0;
        if (error == -EINPROGRESS)
            *ret_error = "the lookup took too long";
        else if (error == -ENOSPC)
            *ret_error = "too many different hosts";
        if (error)
            return -EHOSTUNREACH;
    }
    *ret_error = "out of memory";
    return run(http, transfer, addresses, now_ns);
}

int http_post_start(struct http *http, struct http_post *post)
{
    assert(http->loaded);
    struct http_transfer *transfer = calloc(1, sizeof(*transfer));
    if (!transfer)
        return -ENOMEM;
    transfer->http = http;
    transfer->curl = &http->curl;
    transfer->post = post;
    transfer->own = http->settings.own;
    transfer->end_ns = clock_monotonic_ns() + post->timeout_ms * NS_PER_MS;
    if (url_parse(post->url, &transfer->url)) {
        free(transfer);
        return -EINVAL;
    }
    http_post_clear(post);
    post->transfer = transfer;
    TAILQ_INSERT_TAIL(&http->waiting, transfer, link);
    http->n_waiting++;
    return 0;
}

/* --- moving on --- */

static void finish(struct http *http, struct http_transfer *transfer)
{
    struct http_post *post = transfer->post;
    if (post->error && !post->status && !transfer->url.literal)
        hosts_forget(http->hosts, transfer->url.host); /* perhaps they live elsewhere now */
    detach(http, transfer);
    http_transfer_free(transfer);
    post->done(post);
}

static void take_verdicts(struct http *http)
{
    CURLMsg *message;
    int left;
    while (http->multi && (message = http->curl.multi_info_read(http->multi, &left))) {
        struct http_transfer *transfer = NULL;
        if (message->msg != CURLMSG_DONE)
            continue;
        CURLcode code = message->data.result;
        http->curl.easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&transfer);
        http_transfer_judge(transfer, code);
        finish(http, transfer);
    }
}

/* Those that were there when the round began: `done` may start others. */
static void move_waiting(struct http *http)
{
    struct http_transfer *transfer = TAILQ_FIRST(&http->waiting);
    for (size_t n = http->n_waiting; n && transfer; n--) {
        struct http_transfer *next = TAILQ_NEXT(transfer, link);
        const char *why = NULL;
        if (move_on(http, transfer, &why)) {
            struct http_post *post = transfer->post;
            post->error = HTTP_NOT_CONNECTED;
            snprintf(post->reason, sizeof(post->reason), "%s: %s", transfer->url.host, why);
            finish(http, transfer);
            next = TAILQ_FIRST(&http->waiting); /* `done` may have cancelled any */
        }
        transfer = next;
    }
}

void http_step(struct http *http)
{
    int running;
    if (http->n_waiting)
        move_waiting(http);
    if (http->n_running)
        http->curl.multi_perform(http->multi, &running);
    take_verdicts(http);
}

/* --- waiting --- */

/* How long the posts that wait for addresses may go on doing so; those not asked for yet may not. */
static unsigned waiting_ms(struct http *http, unsigned timeout_ms)
{
    uint64_t now_ns = clock_monotonic_ns();
    struct http_transfer *transfer;
    TAILQ_FOREACH(transfer, &http->waiting, link)
    {
        unsigned left = transfer->moved ? left_ms(transfer, now_ns) : 0;
        if ((!transfer->moved || transfer->post->timeout_ms) && left < timeout_ms)
            timeout_ms = left;
    }
    return timeout_ms;
}

void http_wait(struct http *http, unsigned timeout_ms)
{
    uint64_t count;
    timeout_ms = waiting_ms(http, timeout_ms);
    if (http->n_running) {
        struct curl_waitfd wake = {.fd = http->settings.wake_fd, .events = CURL_WAIT_POLLIN};
        http->curl.multi_poll(http->multi, &wake, 1, (int)timeout_ms, NULL);
    } else {
        struct pollfd wake = {.fd = http->settings.wake_fd, .events = POLLIN};
        poll(&wake, 1, (int)timeout_ms);
    }
    ssize_t ignored = read(http->settings.wake_fd, &count, sizeof(count));
    (void)ignored;
}
