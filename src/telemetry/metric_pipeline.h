/* The instruments on their way to a collector, and to stderr when OTEL_METRICS_EXPORTER asks for it: collected every
 * OTEL_METRIC_EXPORT_INTERVAL, from start to start. A request that is still under way then is not waited for and
 * nothing is queued: cumulative values are whole in the next collection, deltas go on adding up. */
#ifndef TELEMETRY_METRIC_PIPELINE_H
#define TELEMETRY_METRIC_PIPELINE_H

#include "telemetry/collect.h"
#include "telemetry/otlp_client.h"
#include "telemetry/otlp_frame.h"
#include "telemetry/resource.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Borrowed. */
struct metric_pipeline_settings {
    const struct otel_env *env;
    const struct otlp_frame *frame;
    const struct attribute *attributes; /* on every point */
    size_t n_attributes;
    const struct resource *resource; /* the console shows it */
    struct meter *meter;
    struct http *http; /* NULL: not by OTLP */
    struct metrics *metrics;
    struct log *log;
};

struct metric_pipeline;

/* 0 or -ENOMEM. The first collection is an interval after `now_ns`. */
int metric_pipeline_new(const struct metric_pipeline_settings *settings, uint64_t now_ns, struct metric_pipeline **ret);
/* NULL is fine. */
void metric_pipeline_free(struct metric_pipeline *pipeline);
void metric_pipeline_step(struct metric_pipeline *pipeline, uint64_t now_ns);
/* When metric_pipeline_step() has something to do. */
uint64_t metric_pipeline_due(const struct metric_pipeline *pipeline);
/* Collects a last time, now or when what is under way is over; it must be through by `deadline_ns`. */
void metric_pipeline_flush(struct metric_pipeline *pipeline, uint64_t deadline_ns);
/* After metric_pipeline_flush(): whether all is done. */
bool metric_pipeline_flushed(const struct metric_pipeline *pipeline);
/* Gives up what is under way. */
void metric_pipeline_give_up(struct metric_pipeline *pipeline);
/* The end: see otlp_client_tell(). */
void metric_pipeline_tell(struct metric_pipeline *pipeline);

#endif
