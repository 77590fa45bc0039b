/* How long things took, as histograms that one thread records and others read whole.
 *
 * There are two sets of values, and the writer fills one of them. A reader lets it go on with the other one and waits
 * until the record that may be under way is written; from then on what was recorded before is its own. So nothing is
 * copied while it changes, nothing is lost or counted twice between two readings, minimum and maximum are those of
 * exactly this interval, and the writer pays for one memory fence. All zero bytes are an empty histogram. */
#ifndef BASE_HISTOGRAM_H
#define BASE_HISTOGRAM_H

#include "base/exponential.h"

#include <stdatomic.h>

#define HISTOGRAM_BOUNDS 14

/* Seconds, upper-inclusive: those that OpenTelemetry advises for durations of requests. */
extern const double histogram_bounds[HISTOGRAM_BOUNDS];

struct histogram_values {
    uint64_t count;
    double sum;
    double min, max; /* when count > 0 */
    uint64_t buckets[HISTOGRAM_BOUNDS + 1];
    struct exponential exponential; /* when histogram.exponential */
};

struct histogram {
    bool exponential;          /* recorded as well; constant once recording has begun */
    _Atomic uint32_t sequence; /* odd while a record is written */
    _Atomic uint32_t filled;   /* the set that the writer fills */
    struct histogram_values values[2];
};

/* The writer's: counts one measurement. Numbers below zero or not finite are none. */
void histogram_record(struct histogram *histogram, double seconds);
/* What was recorded since the call before; valid until the next one. One reader at a time. May wait for the writer, for
 * as long as one record takes. */
const struct histogram_values *histogram_take(struct histogram *histogram);

void histogram_values_add(struct histogram_values *into, const struct histogram_values *from);
void histogram_values_clear(struct histogram_values *values);

#endif
