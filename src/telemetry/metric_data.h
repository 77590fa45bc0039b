/* What one collection of the instruments yields: the OpenTelemetry data model of metrics as plain values. The collector
 * (telemetry/collect) fills them, the encoders (OTLP, Prometheus, console) only read them. */
#ifndef TELEMETRY_METRIC_DATA_H
#define TELEMETRY_METRIC_DATA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum metric_kind { METRIC_GAUGE, METRIC_SUM, METRIC_HISTOGRAM, METRIC_EXPONENTIAL_HISTOGRAM };

/* As numbered on the wire. */
enum metric_temporality { METRIC_DELTA = 1, METRIC_CUMULATIVE = 2 };

struct metric_attribute {
    const char *key;
    const char *text; /* NULL: an integer */
    int64_t integer;
};

/* sum(counts) = count; a bucket holds what is at most its upper bound. */
struct histogram_data {
    uint64_t count;
    double sum;
    bool has_range; /* min and max are known: at least one measurement in the interval */
    double min, max;
    /* METRIC_HISTOGRAM: n_bounds + 1 counts */
    const double *bounds;
    size_t n_bounds;
    const uint64_t *counts;
    /* METRIC_EXPONENTIAL_HISTOGRAM: bucket i holds (base^(offset + i), base^(offset + i + 1)], base = 2^(2^-scale) */
    int32_t scale;
    int32_t offset;
    const uint64_t *positive;
    size_t n_positive;
    uint64_t zero_count;
};

struct metric_point {
    const struct metric_attribute *attributes; /* its own, beside those that all points carry */
    size_t n_attributes;
    uint64_t start_ns; /* since the epoch; 0 for gauges */
    uint64_t time_ns;
    bool is_double;
    int64_t integer;
    double number;
    struct histogram_data histogram;
};

struct metric_data {
    const char *name, *description, *unit;
    enum metric_kind kind;
    bool monotonic;                      /* sums */
    enum metric_temporality temporality; /* all but gauges */
    const struct metric_point *points;
    size_t n_points;
};

/* One collection. Valid until the collector's next one. */
struct metrics_data {
    const struct metric_data *metrics; /* of the one scope, `opensandbox/egress` */
    size_t n_metrics;
};

#endif
