/* Log records on their way to a collector: encoded at once, kept in a queue that is bounded by records and bytes, and
 * sent in batches (OTEL_BLRP_*). When the queue is full the newest record is dropped and counted. */
#ifndef TELEMETRY_LOG_PIPELINE_H
#define TELEMETRY_LOG_PIPELINE_H

#include "base/log.h"
#include "base/metrics.h"
#include "telemetry/otlp_client.h"
#include "telemetry/otlp_frame.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Borrowed. */
struct log_pipeline_settings {
    const struct otel_env *env;
    const struct otlp_frame *frame;
    const struct attribute *attributes; /* on every record */
    size_t n_attributes;
    struct http *http;
    struct metrics *metrics;
    struct log *log;
};

struct log_pipeline;

/* 0 or -ENOMEM. */
int log_pipeline_new(const struct log_pipeline_settings *settings, struct log_pipeline **ret);
/* What is queued is lost. NULL is fine. */
void log_pipeline_free(struct log_pipeline *pipeline);
/* Takes a copy of the record. */
void log_pipeline_add(struct log_pipeline *pipeline, struct log_record record, uint64_t now_ns);
/* Sends a batch when it is time. */
void log_pipeline_step(struct log_pipeline *pipeline, uint64_t now_ns);
/* When log_pipeline_step() has something to do; UINT64_MAX: nothing is queued, or an answer is awaited. */
uint64_t log_pipeline_due(const struct log_pipeline *pipeline);
/* From now on batches are sent as fast as the collector takes them, until `deadline_ns`. */
void log_pipeline_flush(struct log_pipeline *pipeline, uint64_t deadline_ns);
/* Whether nothing is queued or under way. */
bool log_pipeline_empty(const struct log_pipeline *pipeline);
/* Gives up what is under way, which counts as not exported and is said so, and the queue; returns how many records are
 * lost with the queue. */
size_t log_pipeline_give_up(struct log_pipeline *pipeline);
/* The end: see otlp_client_tell(). */
void log_pipeline_tell(struct log_pipeline *pipeline);

#endif
