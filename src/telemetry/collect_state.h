/* What collect.c (the life of meters and collectors, one collection) and collect_points.c (what instruments show)
 * share. Nobody else includes this. */
#ifndef TELEMETRY_COLLECT_STATE_H
#define TELEMETRY_COLLECT_STATE_H

#include "telemetry/collect.h"
#include "telemetry/host.h"
#include "telemetry/instruments.h"

#include <pthread.h>

#define INSTRUMENTS_MAX 48
#define POINTS_MAX 96 /* of all that have a fixed number of them */
#define HISTOGRAMS (1 + REQUEST_STREAMS)
#define REQUEST_ATTRIBUTES 3

struct meter {
    struct meter_settings settings;
    uint64_t start_ns;
    pthread_mutex_t lock; /* held by whoever takes histograms, and over the list and what others put into its members */
    struct collector *collectors;
};

union instrument_value {
    uint64_t whole;
    double fraction;
};

/* Copies of what the points lead to: the original goes on growing. */
struct shown {
    uint64_t buckets[HISTOGRAM_BOUNDS + 1];
    uint64_t exponential[EXPONENTIAL_SIZE];
};

/* Most of it is never touched, and so takes no memory: requests come in few kinds. */
struct collector {
    struct meter *meter;
    struct collector *next;
    struct collector_settings settings;
    struct host host;
    uint64_t previous_ns;                           /* the latest collection, or the meter's start */
    union instrument_value previous[POINTS_MAX];    /* of the points that have a fixed place, in order */
    struct histogram_values histograms[HISTOGRAMS]; /* since the start; delta: since the latest collection */
    /* what is shown */
    struct metrics_data data;
    struct metric_data metrics[INSTRUMENTS_MAX];
    struct metric_point points[POINTS_MAX + 1 + 2 * REQUEST_STREAMS];
    size_t n_points;
    struct metric_attribute request_attributes[REQUEST_STREAMS][REQUEST_ATTRIBUTES];
    struct shown shown[HISTOGRAMS];
};

/* Appends the points of one instrument to those of the collector; its lock is held. `place`: of the instrument's first
 * point, among all that have a fixed place. `observed` is by enum observed, `n_streams` how many kinds of requests are
 * shown. */
struct points_context {
    uint64_t now_ns;
    const union instrument_value *observed;
    size_t n_streams;
};
void collect_points(struct collector *collector, const struct instrument *instrument,
                    const struct points_context *context, size_t place, struct metric_data *metric);

#endif
