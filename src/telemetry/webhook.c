#include "telemetry/webhook.h"

#include "base/domain_name.h"
#include "telemetry/log_text.h"
#include "version.h"

#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define QUEUE 256
#define PARALLEL 8 /* a few that hang do not hold up the others */
#define TIMEOUT_MS 5000
#define RETRIES 3 /* after 1, 2, 4 s */
#define ANSWER_MAX (64 * 1024)
#define TELL_INTERVAL_NS (60 * NS_PER_S) /* failures: one line for all of that time */
#define TELL_DROPPED_INTERVAL_NS NS_PER_S

struct denial {
    int64_t time_s; /* since the epoch */
    uint8_t len;
    uint8_t name[DOMAIN_NAME_MAX];
};

/* One that is being told. */
struct delivery {
    struct webhook *webhook;
    struct http_post post;
    struct buf body;
    unsigned tries;
    bool used;
    uint64_t again_ns; /* when it is sent next; 0: it is under way */
};

struct webhook {
    struct webhook_settings settings;
    struct delivery deliveries[PARALLEL];
    uint64_t dropped_told, failed_told; /* of all that were, so far */
    uint64_t next_dropped_ns, next_failed_ns;
    /* one producer, one consumer */
    atomic_int bell_fd;
    _Atomic unsigned head, tail; /* counted without end */
    struct denial queue[QUEUE];
};

int webhook_new(const struct webhook_settings *settings, struct webhook **ret)
{
    struct webhook *webhook = calloc(1, sizeof(*webhook));
    if (!webhook)
        return -ENOMEM;
    webhook->settings = *settings;
    webhook->bell_fd = -1;
    *ret = webhook;
    return 0;
}

/* --- the queue --- */

void webhook_denied(struct webhook *webhook, const uint8_t *name, size_t len)
{
    unsigned head = atomic_load_explicit(&webhook->head, memory_order_relaxed);
    if (head - atomic_load_explicit(&webhook->tail, memory_order_acquire) == QUEUE) {
        metric_add(webhook->settings.metrics, METRIC_WEBHOOK_DROPPED_QUEUE, 1);
        return;
    }
    struct timespec now;
    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    struct denial *denial = &webhook->queue[head % QUEUE];
    denial->time_s = now.tv_sec;
    denial->len = (uint8_t)len;
    memcpy(denial->name, name, len);
    atomic_store_explicit(&webhook->head, head + 1, memory_order_release);
    atomic_signal_fence(memory_order_seq_cst); /* as in log_end() */
    if (atomic_load_explicit(&webhook->bell_fd, memory_order_relaxed) < 0)
        return;
    int fd = atomic_exchange_explicit(&webhook->bell_fd, -1, memory_order_relaxed);
    uint64_t one = 1;
    /* Fails only when the counter is full, and then the bell has been heard. */
    ssize_t ignored = fd >= 0 ? write(fd, &one, sizeof(one)) : 0;
    (void)ignored;
}

void webhook_set_bell(struct webhook *webhook, int event_fd)
{
    atomic_store_explicit(&webhook->bell_fd, event_fd, memory_order_relaxed);
}

static unsigned queued(const struct webhook *webhook)
{
    return atomic_load_explicit(&webhook->head, memory_order_acquire) -
           atomic_load_explicit(&webhook->tail, memory_order_relaxed);
}

static void pop(struct webhook *webhook, unsigned n)
{
    unsigned tail = atomic_load_explicit(&webhook->tail, memory_order_relaxed);
    atomic_store_explicit(&webhook->tail, tail + n, memory_order_release);
}

/* --- one delivery --- */

static void write_body(struct buf *body, const struct denial *denial, const char *sandbox_id)
{
    char time_text[sizeof("2026-11-22T06:00:00Z") + 16];
    struct tm utc;
    time_t seconds = denial->time_s;
    gmtime_r(&seconds, &utc);
    strftime(time_text, sizeof(time_text), "%Y-%m-%dT%H:%M:%SZ", &utc);
    buf_clear(body);
    buf_puts(body, "{\"hostname\":\"");
    log_text_name(body, denial->name, denial->len);
    buf_puts(body, "\",\"timestamp\":\"");
    buf_puts(body, time_text);
    buf_puts(body, "\",\"source\":\"opensandbox-egress\",\"sandboxId\":");
    buf_json_string(body, sandbox_id ? sandbox_id : "", sandbox_id ? strlen(sandbox_id) : 0);
    buf_putc(body, '}');
}

/* `error`: NULL when there was an answer. */
static void tell_failed(struct webhook *webhook, const char *error, unsigned status)
{
    const struct webhook_settings *settings = &webhook->settings;
    uint64_t failed = metric_get(settings->metrics, METRIC_WEBHOOK_FAILED), now_ns = clock_monotonic_ns();
    if (now_ns < webhook->next_failed_ns || !log_begin(settings->log, LOG_WARN, LOG_PLAIN, "webhook not told"))
        return;
    log_int(settings->log, "denials", (int64_t)(failed - webhook->failed_told));
    if (error)
        log_str(settings->log, "error", error, strlen(error));
    else
        log_int(settings->log, "http.response.status_code", status);
    log_end(settings->log);
    webhook->failed_told = failed;
    webhook->next_failed_ns = now_ns + TELL_INTERVAL_NS;
}

static void end_delivery(struct delivery *delivery)
{
    http_post_cancel(delivery->webhook->settings.http, &delivery->post);
    http_post_clear(&delivery->post);
    buf_done(&delivery->body);
    delivery->used = false;
}

static void fail(struct delivery *delivery, const char *error)
{
    metric_add(delivery->webhook->settings.metrics, METRIC_WEBHOOK_FAILED, 1);
    tell_failed(delivery->webhook, error, delivery->post.status);
    end_delivery(delivery);
}

/* What came of one try. */
static void tried(struct http_post *post)
{
    struct delivery *delivery = post->owner;
    /* The status is what counts, however much was said besides. */
    bool answered = !post->error || (post->error == HTTP_TOO_LARGE && post->status);
    if (answered && post->status >= 200 && post->status < 300) {
        metric_add(delivery->webhook->settings.metrics, METRIC_WEBHOOK_SENT, 1);
        end_delivery(delivery);
    } else if ((answered && post->status < 500) || delivery->tries > RETRIES) {
        fail(delivery, answered ? NULL : post->reason);
    } else {
        delivery->again_ns = clock_monotonic_ns() + (NS_PER_S << (delivery->tries - 1));
    }
}

static void try_once(struct delivery *delivery)
{
    delivery->again_ns = 0;
    /* libcurl sends again by itself when a connection that it used before is dead: not on top of our own retries. */
    delivery->post.fresh_connect = delivery->tries++;
    if (http_post_start(delivery->webhook->settings.http, &delivery->post))
        fail(delivery, "out of memory"); /* the URL was checked */
}

static void start_delivery(struct delivery *delivery, struct webhook *webhook, const struct denial *denial)
{
    static const char *const headers[] = {"Content-Type: application/json", NULL};
    *delivery = (struct delivery){.webhook = webhook, .used = true};
    write_body(&delivery->body, denial, webhook->settings.sandbox_id);
    delivery->post = (struct http_post){.url = webhook->settings.url,
                                        .headers = headers,
                                        .body = delivery->body.data,
                                        .body_len = delivery->body.len,
                                        .timeout_ms = TIMEOUT_MS,
                                        .answer_max = ANSWER_MAX,
                                        .user_agent = "opensandbox-egress/" EGRESS_VERSION,
                                        .done = tried,
                                        .owner = delivery};
    if (delivery->body.failed)
        fail(delivery, "out of memory");
    else
        try_once(delivery);
}

/* --- all of them --- */

/* Once the queue is empty again, how many names did not get in. */
static void tell_dropped(struct webhook *webhook)
{
    const struct webhook_settings *settings = &webhook->settings;
    uint64_t dropped = metric_get(settings->metrics, METRIC_WEBHOOK_DROPPED_QUEUE), now_ns = clock_monotonic_ns();
    if (dropped == webhook->dropped_told || queued(webhook) || now_ns < webhook->next_dropped_ns ||
        !log_begin(settings->log, LOG_WARN, LOG_PLAIN, "webhook queue was full"))
        return;
    log_int(settings->log, "dropped", (int64_t)(dropped - webhook->dropped_told));
    log_end(settings->log);
    webhook->dropped_told = dropped;
    webhook->next_dropped_ns = now_ns + TELL_DROPPED_INTERVAL_NS;
}

static unsigned ms_until(uint64_t due_ns, uint64_t now_ns)
{
    return due_ns > now_ns ? (unsigned)((due_ns - now_ns + NS_PER_MS - 1) / NS_PER_MS) : 0;
}

unsigned webhook_step(struct webhook *webhook)
{
    uint64_t now_ns = clock_monotonic_ns();
    unsigned wait_ms = UINT_MAX;
    for (size_t i = 0; i < PARALLEL; i++) {
        struct delivery *delivery = &webhook->deliveries[i];
        if (!delivery->used && queued(webhook)) {
            unsigned tail = atomic_load_explicit(&webhook->tail, memory_order_relaxed);
            start_delivery(delivery, webhook, &webhook->queue[tail % QUEUE]);
            pop(webhook, 1);
        } else if (delivery->used && delivery->again_ns && delivery->again_ns <= now_ns) {
            try_once(delivery);
        }
        if (delivery->used && delivery->again_ns && ms_until(delivery->again_ns, now_ns) < wait_ms)
            wait_ms = ms_until(delivery->again_ns, now_ns);
    }
    tell_dropped(webhook);
    return wait_ms;
}

bool webhook_idle(const struct webhook *webhook)
{
    for (size_t i = 0; i < PARALLEL; i++)
        if (webhook->deliveries[i].used)
            return false;
    return !queued(webhook);
}

/* Returns how many there were. */
static unsigned end_all(struct webhook *webhook)
{
    unsigned n = 0;
    for (size_t i = 0; i < PARALLEL; i++) {
        if (!webhook->deliveries[i].used)
            continue;
        end_delivery(&webhook->deliveries[i]);
        n++;
    }
    return n;
}

void webhook_give_up(struct webhook *webhook)
{
    unsigned lost = queued(webhook);
    pop(webhook, lost);
    lost += end_all(webhook);
    metric_add(webhook->settings.metrics, METRIC_WEBHOOK_FAILED, lost);
    webhook->next_failed_ns = webhook->next_dropped_ns = 0; /* the last chance to say it */
    if (lost)
        tell_failed(webhook, "the sidecar stops", 0);
    tell_dropped(webhook);
}

void webhook_free(struct webhook *webhook)
{
    if (!webhook)
        return;
    end_all(webhook);
    free(webhook);
}
