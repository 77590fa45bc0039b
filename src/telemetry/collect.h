/* Collection: what the instruments show now, as values of the OpenTelemetry data model.
 *
 * One `struct meter` a process; each reader (an OTLP pipeline, the console, /metrics) has a `struct collector` of its
 * own, with its own temporality, and what one of them collects is not missing from the others. Collectors may work in
 * different threads: they wait for each other for some microseconds, recording never waits for them. */
#ifndef TELEMETRY_COLLECT_H
#define TELEMETRY_COLLECT_H

#include "base/log.h"
#include "base/metrics.h"
#include "telemetry/metric_data.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Borrowed for the life of the meter. */
struct meter_settings {
    struct metrics *metrics;
    struct log *const *logs; /* queues whose losses are counted */
    size_t n_logs;
    const char *proc; /* HOST_PROC, but for tests */
};

struct meter;

/* `now_ns`: CLOCK_REALTIME; all cumulative streams begin then. 0 or -ENOMEM. */
int meter_new(const struct meter_settings *settings, uint64_t now_ns, struct meter **ret);
/* After its collectors. NULL is fine. */
void meter_free(struct meter *meter);

/* OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE; low memory: delta for what the process counts itself, cumulative
 * for what it only observes. Up-down counters are always cumulative. */
enum temporality_preference { PREFER_CUMULATIVE, PREFER_DELTA, PREFER_LOW_MEMORY };

struct collector_settings {
    enum temporality_preference preference;
    bool exponential; /* histograms; struct metrics must record them so, too (histogram.exponential) */
};

struct collector;

/* Sees what was recorded since the meter's start when it is made before any collector of the meter has collected, else
 * histograms from now on. 0 or -ENOMEM. */
int collector_new(struct meter *meter, const struct collector_settings *settings, struct collector **ret);
void collector_free(struct collector *collector);
/* What there is at `now_ns` (CLOCK_REALTIME; times never go back, whatever the clock does). Valid until the next call.
 * One thread at a time per collector. Delta streams in which nothing happened are left out. */
const struct metrics_data *collector_collect(struct collector *collector, uint64_t now_ns);

#endif
