#include "telemetry/log_pipeline.h"

#include "base/loop.h"
#include "telemetry/otlp.pb-c.h"
#include "telemetry/otlp_logs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define QUEUE_BYTES_MIN (1u << 20)
#define RECORD_BYTES 512u /* that a longer queue may have for each of its records */

struct log_pipeline {
    struct log_pipeline_settings settings;
    struct otlp_client *client;
    struct otlp_logs logs;
    struct buf bytes; /* the queue: encoded records one behind the other */
    uint32_t *sizes;  /* of each, a ring */
    size_t first, n, max, max_bytes;
    uint64_t due_ns;      /* for what is queued */
    uint64_t deadline_ns; /* of the flush; 0: none */
};

static unsigned shorter_timeout(unsigned a, unsigned b)
{
    return !a || (b && b < a) ? b : a;
}

int log_pipeline_new(const struct log_pipeline_settings *settings, struct log_pipeline **ret)
{
    const struct otel_env *env = settings->env;
    struct log_pipeline *p = calloc(1, sizeof(*p));
    if (!p)
        return -ENOMEM;
    p->settings = *settings;
    p->max = env->logs_queue;
    p->max_bytes = p->max * RECORD_BYTES > QUEUE_BYTES_MIN ? p->max * RECORD_BYTES : QUEUE_BYTES_MIN;
    p->sizes = calloc(p->max, sizeof(*p->sizes));
    struct otlp_client_settings client = {
        .otlp = &env->logs,
        .request = &otlp__export_logs_service_request__descriptor,
        .is_logs = true,
        .timeout_ms = shorter_timeout(env->logs.timeout_ms, env->logs_timeout_ms),
        .http = settings->http,
        .metrics = settings->metrics,
        .log = settings->log,
    };
    int error = p->sizes ? otlp_logs_init(&p->logs, settings->attributes, settings->n_attributes) : -ENOMEM;
    if (!error)
        error = otlp_client_new(&client, &p->client);
    if (error) {
        log_pipeline_free(p);
        return error;
    }
    *ret = p;
    return 0;
}

void log_pipeline_free(struct log_pipeline *p)
{
    if (!p)
        return;
    otlp_client_free(p->client);
    otlp_logs_done(&p->logs);
    buf_done(&p->bytes);
    free(p->sizes);
    free(p);
}

static void tell_queued(struct log_pipeline *p)
{
    metric_set(p->settings.metrics, METRIC_LOGS_QUEUED, p->n);
}

void log_pipeline_add(struct log_pipeline *p, struct log_record record, uint64_t now_ns)
{
    size_t before = p->bytes.len;
    if (p->n < p->max)
        otlp_logs_record(&p->logs, record, (int64_t)clock_realtime_ns(), &p->bytes);
    if (p->n == p->max || p->bytes.failed || p->bytes.len > p->max_bytes) {
        p->bytes.len = before;
        p->bytes.failed = false;
        metric_add(p->settings.metrics, METRIC_LOGS_QUEUE_FULL, 1);
        return;
    }
    p->sizes[(p->first + p->n) % p->max] = (uint32_t)(p->bytes.len - before);
    if (!p->n)
        p->due_ns = now_ns + p->settings.env->logs_delay_ms * NS_PER_MS;
    p->n++;
    tell_queued(p);
}

/* Takes the oldest records out of the queue and sends them. */
static void send_batch(struct log_pipeline *p, uint64_t now_ns)
{
    size_t n = p->n < p->settings.env->logs_batch ? p->n : p->settings.env->logs_batch, len = 0;
    for (size_t i = 0; i < n; i++)
        len += p->sizes[(p->first + i) % p->max];
    _cleanup_buf_ struct buf request = {0};
    otlp_frame_wrap(p->settings.frame, p->bytes.data, len, &request);
    if (request.failed) /* memory is short: they stay, the time comes again */
        return;
    if (n < p->n)
        buf_drop(&p->bytes, len);
    else
        buf_done(&p->bytes);
    p->first = (p->first + n) % p->max;
    p->n -= n;
    metric_add(p->settings.metrics, METRIC_LOGS_PROCESSED, n);
    tell_queued(p);
    otlp_client_send(p->client, request.data, request.len, n, now_ns);
    if (p->deadline_ns)
        otlp_client_hurry(p->client, p->deadline_ns);
    p->due_ns = now_ns + p->settings.env->logs_delay_ms * NS_PER_MS;
}

uint64_t log_pipeline_due(const struct log_pipeline *p)
{
    if (otlp_client_busy(p->client))
        return otlp_client_due(p->client);
    if (!p->n)
        return UINT64_MAX;
    return p->deadline_ns || p->n >= p->settings.env->logs_batch ? 0 : p->due_ns;
}

void log_pipeline_step(struct log_pipeline *p, uint64_t now_ns)
{
    otlp_client_step(p->client, now_ns);
    if (!otlp_client_busy(p->client) && log_pipeline_due(p) <= now_ns)
        send_batch(p, now_ns);
}

void log_pipeline_flush(struct log_pipeline *p, uint64_t deadline_ns)
{
    p->deadline_ns = deadline_ns;
    otlp_client_hurry(p->client, deadline_ns);
}

bool log_pipeline_empty(const struct log_pipeline *p)
{
    return !p->n && !otlp_client_busy(p->client);
}

size_t log_pipeline_give_up(struct log_pipeline *p)
{
    size_t lost = p->n;
    otlp_client_give_up(p->client);
    p->n = p->bytes.len = 0;
    tell_queued(p);
    return lost;
}

void log_pipeline_tell(struct log_pipeline *p)
{
    otlp_client_tell(p->client);
}
