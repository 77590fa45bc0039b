/* Everything that leaves by OTLP, and the console exporter: the part of the export thread that log files and stdout
 * have nothing to do with. Does not block. */
#ifndef TELEMETRY_PIPELINES_H
#define TELEMETRY_PIPELINES_H

#include "base/log.h"
#include "base/metrics.h"
#include "telemetry/collect.h"
#include "telemetry/http.h"
#include "telemetry/log_json.h"
#include "telemetry/otel_env.h"
#include "telemetry/resource.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Borrowed. */
struct pipelines_settings {
    const struct otel_env *env;
    const struct resource *resource;
    const struct attribute *attributes; /* on every record and point */
    size_t n_attributes;
    struct meter *meter;
    struct metrics *metrics;
    struct log *log;   /* what there is to say about exporting */
    struct http *http; /* its name lookups and sockets pass whatever the policy */
};

struct pipelines;

/* 0 or -errno; `ret` is NULL when the environment asks for nothing. */
int pipelines_new(const struct pipelines_settings *settings, struct pipelines **ret);
/* NULL is fine, here and for the rest: then nothing happens. */
void pipelines_free(struct pipelines *pipelines);
/* A record that is written to the log's outputs, too. */
void pipelines_record(struct pipelines *pipelines, const struct log_record *record);
/* Moves everything on after http_step(); returns in how many milliseconds it wants to be called again, whatever comes;
 * UINT_MAX: there is nothing to do then. */
unsigned pipelines_step(struct pipelines *pipelines);
/* Whether anything leaves by OTLP: without, pipelines_flushed() has nothing to wait for. */
bool pipelines_send(const struct pipelines *pipelines);
/* After pipelines_step(): sends what is queued and collects a last time, until `deadline_ns` (CLOCK_MONOTONIC). True
 * when that is over; what was not sent is lost, and the log tells how much. */
bool pipelines_flushed(struct pipelines *pipelines, uint64_t deadline_ns);

#endif
