#include "telemetry/pipelines.h"

#include "base/loop.h"
#include "telemetry/instruments.h"
#include "telemetry/log_pipeline.h"
#include "telemetry/metric_pipeline.h"
#include "version.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>

struct pipelines {
    struct pipelines_settings settings;
    struct otlp_frame frame;
    struct log_pipeline *logs;
    struct metric_pipeline *metrics;
    uint64_t now_ns; /* as of the last step */
    bool flushing, over;
    bool fresh; /* a record has come since the flush looked last */
};

static int make_logs(struct pipelines *p)
{
    const struct pipelines_settings *s = &p->settings;
    struct log_pipeline_settings logs = {
        .env = s->env,
        .frame = &p->frame,
        .attributes = s->attributes,
        .n_attributes = s->n_attributes,
        .http = s->http,
        .metrics = s->metrics,
        .log = s->log,
    };
    return log_pipeline_new(&logs, &p->logs);
}

static int make_metrics(struct pipelines *p)
{
    const struct pipelines_settings *s = &p->settings;
    struct metric_pipeline_settings metrics = {
        .env = s->env,
        .frame = &p->frame,
        .attributes = s->attributes,
        .n_attributes = s->n_attributes,
        .resource = s->resource,
        .meter = s->meter,
        .http = s->env->metrics.url ? s->http : NULL,
        .metrics = s->metrics,
        .log = s->log,
    };
    return metric_pipeline_new(&metrics, p->now_ns, &p->metrics);
}

int pipelines_new(const struct pipelines_settings *settings, struct pipelines **ret)
{
    const struct otel_env *env = settings->env;
    bool otlp = env->metrics.url || env->logs.url;
    if (!otlp && !env->metrics_console) {
        *ret = NULL;
        return 0;
    }
    struct pipelines *p = calloc(1, sizeof(*p));
    if (!p)
        return -ENOMEM;
    p->settings = *settings;
    p->now_ns = clock_monotonic_ns();
    int error = otlp_frame_init(&p->frame, settings->resource->attributes, settings->resource->n, INSTRUMENTS_SCOPE,
                                EGRESS_VERSION);
    if (!error && env->logs.url)
        error = make_logs(p);
    if (!error && (env->metrics.url || env->metrics_console))
        error = make_metrics(p);
    if (error) {
        pipelines_free(p);
        return error;
    }
    *ret = p;
    return 0;
}

void pipelines_free(struct pipelines *p)
{
    if (!p)
        return;
    log_pipeline_free(p->logs);
    metric_pipeline_free(p->metrics);
    otlp_frame_done(&p->frame);
    free(p);
}

void pipelines_record(struct pipelines *p, const struct log_record *record)
{
    if (!p || !p->logs)
        return;
    p->fresh = true;
    log_pipeline_add(p->logs, *record, p->now_ns);
}

static uint64_t due(const struct pipelines *p)
{
    uint64_t logs = p->logs ? log_pipeline_due(p->logs) : UINT64_MAX;
    uint64_t metrics = p->metrics ? metric_pipeline_due(p->metrics) : UINT64_MAX;
    return logs < metrics ? logs : metrics;
}

unsigned pipelines_step(struct pipelines *p)
{
    if (!p || p->over)
        return UINT_MAX;
    p->now_ns = clock_monotonic_ns();
    if (p->logs)
        log_pipeline_step(p->logs, p->now_ns);
    if (p->metrics)
        metric_pipeline_step(p->metrics, p->now_ns);
    uint64_t due_ns = due(p);
    if (due_ns <= p->now_ns)
        return 0;
    uint64_t left_ms = (due_ns - p->now_ns + NS_PER_MS - 1) / NS_PER_MS;
    return left_ms < UINT_MAX ? (unsigned)left_ms : UINT_MAX;
}

static void give_up(struct pipelines *p)
{
    size_t lost = p->logs ? log_pipeline_give_up(p->logs) : 0;
    if (p->metrics)
        metric_pipeline_give_up(p->metrics);
    if (lost && log_begin(p->settings.log, LOG_WARN, LOG_PLAIN, "log records were not exported before the end")) {
        log_int(p->settings.log, "lost", (int64_t)lost);
        log_end(p->settings.log);
    }
}

bool pipelines_send(const struct pipelines *p)
{
    return p && (p->settings.env->metrics.url || p->settings.env->logs.url);
}

static bool is_flushed(const struct pipelines *p)
{
    return (!p->logs || log_pipeline_empty(p->logs)) && (!p->metrics || metric_pipeline_flushed(p->metrics));
}

static void last_words(struct pipelines *p)
{
    if (p->logs)
        log_pipeline_tell(p->logs);
    if (p->metrics)
        metric_pipeline_tell(p->metrics);
}

bool pipelines_flushed(struct pipelines *p, uint64_t deadline_ns)
{
    if (!p || p->over)
        return true;
    if (!p->flushing) {
        p->flushing = p->fresh = true;
        if (p->logs)
            log_pipeline_flush(p->logs, deadline_ns);
        if (p->metrics)
            metric_pipeline_flush(p->metrics, deadline_ns);
    }
    bool late = clock_monotonic_ns() >= deadline_ns;
    if (late)
        give_up(p);
    p->over = late || (!p->fresh && is_flushed(p));
    p->fresh = false;
    if (p->over)
        last_words(p);
    return p->over;
}
