/* Every instrument of the process: its name, unit and kind, and where its values are. This table is what
 * docs/telemetry.md describes. */
#ifndef TELEMETRY_INSTRUMENTS_H
#define TELEMETRY_INSTRUMENTS_H

#include "base/metrics.h"
#include "telemetry/metric_data.h"

/* The scope of all instruments. */
#define INSTRUMENTS_SCOPE "opensandbox/egress"

/* As the OpenTelemetry specification has them; temporality depends on it. */
enum instrument_kind {
    INSTRUMENT_COUNTER,
    INSTRUMENT_OBSERVABLE_COUNTER, /* somebody else counts */
    INSTRUMENT_UP_DOWN_COUNTER,
    INSTRUMENT_GAUGE,
    INSTRUMENT_HISTOGRAM,
};

enum instrument_source {
    SOURCE_CELLS,             /* of struct metrics */
    SOURCE_OBSERVED,          /* looked at for each collection: enum observed */
    SOURCE_DNS_DURATION,      /* one histogram */
    SOURCE_REQUESTS,          /* a point for each of struct request_streams: how many */
    SOURCE_REQUEST_DURATIONS, /* … and their histograms */
};

enum observed {
    OBSERVED_LOG_DROPPED, /* whole numbers, like the next two */
    OBSERVED_SYSTEM_MEMORY,
    OBSERVED_PROCESS_MEMORY,
    OBSERVED_SYSTEM_CPU, /* fractions from here on */
    OBSERVED_CPU_USER,
    OBSERVED_CPU_SYSTEM,
    OBSERVED_END,
};

#define INSTRUMENT_ATTRIBUTES 2 /* most that a point has */

struct instrument_point {
    unsigned from;                                             /* enum metric or enum observed */
    struct metric_attribute attributes[INSTRUMENT_ATTRIBUTES]; /* as many as have a key */
};

struct instrument {
    const char *name, *description, *unit;
    enum instrument_kind kind;
    enum instrument_source source;
    const struct instrument_point *points; /* SOURCE_CELLS and SOURCE_OBSERVED */
    size_t n_points;
    bool fraction; /* values are doubles */
    /* Shown from when one of these cells is not zero, and always from then on; equal: from the start. */
    unsigned used_from, used_end;
};

extern const struct instrument instruments[];
extern const size_t n_instruments;

#endif
