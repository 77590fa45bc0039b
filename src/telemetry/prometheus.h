/* What the instruments show, as text for a Prometheus server: always cumulative, with explicit buckets, without
 * timestamps. Names are made as the OpenTelemetry specification says (compatibility/prometheus_and_openmetrics): dots
 * become underscores, the unit is written out, counters end in _total. */
#ifndef TELEMETRY_PROMETHEUS_H
#define TELEMETRY_PROMETHEUS_H

#include "base/buf.h"
#include "telemetry/collect.h"
#include "telemetry/resource.h"

enum prometheus_format {
    PROMETHEUS_TEXT,        /* text format 0.0.4 */
    PROMETHEUS_OPENMETRICS, /* OpenMetrics 1.0.0 */
};

/* Copied. */
struct prometheus_settings {
    const char *version;                /* of the program */
    const struct resource *resource;    /* told once, by target_info */
    const struct attribute *attributes; /* labels of every sample */
    size_t n_attributes;
};

struct prometheus;

/* Makes a collector of its own. 0 or -ENOMEM. */
int prometheus_new(struct meter *meter, const struct prometheus_settings *settings, struct prometheus **ret);
void prometheus_free(struct prometheus *prometheus);
/* Collects at `now_ns` (CLOCK_REALTIME) and appends all of it. One thread. */
void prometheus_scrape(struct prometheus *prometheus, uint64_t now_ns, enum prometheus_format format, struct buf *out);

#endif
