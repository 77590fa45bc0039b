#include "telemetry/metric_pipeline.h"

#include "base/loop.h"
#include "telemetry/console.h"
#include "telemetry/otlp.pb-c.h"
#include "telemetry/otlp_metrics.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

struct metric_pipeline {
    struct metric_pipeline_settings settings;
    struct otlp_client *client;  /* NULL: not by OTLP */
    struct collector *collector; /* its */
    struct collector *console;   /* NULL: nothing on stderr */
    struct buf block;
    uint64_t due_ns;
    uint64_t deadline_ns; /* of the flush; 0: none */
    bool last_done;       /* the flush's collection is made */
};

static const enum temporality_preference preferences[] = {
    [OTEL_CUMULATIVE] = PREFER_CUMULATIVE, [OTEL_DELTA] = PREFER_DELTA, [OTEL_LOW_MEMORY] = PREFER_LOW_MEMORY};

static unsigned shorter_timeout(unsigned a, unsigned b)
{
    return !a || (b && b < a) ? b : a;
}

static int make_client(struct metric_pipeline *p)
{
    const struct metric_pipeline_settings *settings = &p->settings;
    const struct otel_env *env = settings->env;
    struct otlp_client_settings client = {
        .otlp = &env->metrics,
        .request = &otlp__export_metrics_service_request__descriptor,
        .timeout_ms = shorter_timeout(env->metrics.timeout_ms, env->metrics_timeout_ms),
        .http = settings->http,
        .metrics = settings->metrics,
        .log = settings->log,
    };
    return otlp_client_new(&client, &p->client);
}

static int make_collectors(struct metric_pipeline *p)
{
    const struct otel_env *env = p->settings.env;
    struct collector_settings settings = {.preference = preferences[env->temporality],
                                          .exponential = env->exponential_histograms};
    int error = p->settings.http ? collector_new(p->settings.meter, &settings, &p->collector) : 0;
    if (!error && env->metrics_console)
        error = collector_new(p->settings.meter, &settings, &p->console);
    return error;
}

int metric_pipeline_new(const struct metric_pipeline_settings *settings, uint64_t now_ns, struct metric_pipeline **ret)
{
    struct metric_pipeline *p = calloc(1, sizeof(*p));
    if (!p)
        return -ENOMEM;
    p->settings = *settings;
    p->due_ns = now_ns + settings->env->metrics_interval_ms * NS_PER_MS;
    int error = make_collectors(p);
    if (!error && settings->http)
        error = make_client(p);
    if (error) {
        metric_pipeline_free(p);
        return error;
    }
    *ret = p;
    return 0;
}

void metric_pipeline_free(struct metric_pipeline *p)
{
    if (!p)
        return;
    otlp_client_free(p->client);
    collector_free(p->collector);
    collector_free(p->console);
    buf_done(&p->block);
    free(p);
}

static bool is_busy(const struct metric_pipeline *p)
{
    return p->client && otlp_client_busy(p->client);
}

static void show(struct metric_pipeline *p)
{
    const struct metric_pipeline_settings *s = &p->settings;
    buf_clear(&p->block);
    console_render(collector_collect(p->console, clock_realtime_ns()), s->resource, s->attributes, s->n_attributes,
                   &p->block);
    for (size_t done = 0; !p->block.failed && done < p->block.len;) {
        ssize_t n = write(STDERR_FILENO, p->block.data + done, p->block.len - done);
        if (n < 0 && errno != EINTR)
            return;
        done += n > 0 ? (size_t)n : 0;
    }
}

static void send_points(struct metric_pipeline *p, uint64_t now_ns)
{
    const struct metrics_data *data = collector_collect(p->collector, clock_realtime_ns());
    size_t points;
    _cleanup_buf_ struct buf request = {0};
    otlp_metrics_request(p->settings.frame, p->settings.attributes, p->settings.n_attributes, data, &request, &points);
    if (points && !request.failed)
        otlp_client_send(p->client, request.data, request.len, points, now_ns);
    if (p->deadline_ns)
        otlp_client_hurry(p->client, p->deadline_ns);
}

static void export_now(struct metric_pipeline *p, uint64_t now_ns)
{
    if (p->console)
        show(p);
    if (p->client && !is_busy(p))
        send_points(p, now_ns);
}

uint64_t metric_pipeline_due(const struct metric_pipeline *p)
{
    if (p->deadline_ns && !is_busy(p))
        return p->last_done ? UINT64_MAX : 0;
    uint64_t retry_ns = p->client ? otlp_client_due(p->client) : UINT64_MAX;
    return p->deadline_ns || retry_ns < p->due_ns ? retry_ns : p->due_ns;
}

void metric_pipeline_step(struct metric_pipeline *p, uint64_t now_ns)
{
    if (p->client)
        otlp_client_step(p->client, now_ns);
    if (p->deadline_ns) {
        if (is_busy(p) || p->last_done)
            return;
        p->last_done = true;
        export_now(p, now_ns);
    } else if (now_ns >= p->due_ns) {
        uint64_t interval_ns = p->settings.env->metrics_interval_ms * NS_PER_MS;
        p->due_ns += ((now_ns - p->due_ns) / interval_ns + 1) * interval_ns;
        export_now(p, now_ns);
    }
}

void metric_pipeline_flush(struct metric_pipeline *p, uint64_t deadline_ns)
{
    p->deadline_ns = deadline_ns;
    if (p->client)
        otlp_client_hurry(p->client, deadline_ns);
}

bool metric_pipeline_flushed(const struct metric_pipeline *p)
{
    return p->last_done && !is_busy(p);
}

void metric_pipeline_give_up(struct metric_pipeline *p)
{
    if (p->client)
        otlp_client_give_up(p->client);
}

void metric_pipeline_tell(struct metric_pipeline *p)
{
    if (p->client)
        otlp_client_tell(p->client);
}
