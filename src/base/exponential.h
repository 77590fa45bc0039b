/* The buckets of a base-2 exponential histogram (OpenTelemetry specification, metrics data model): bucket i holds what
 * is in (base^i, base^(i + 1)], base = 2^(2^-scale). It begins at the finest scale and halves its resolution whenever
 * the values no longer fit into EXPONENTIAL_SIZE buckets in a row. All zero bytes are an empty one. Not shared between
 * threads by itself: base/histogram.h sees to that. */
#ifndef BASE_EXPONENTIAL_H
#define BASE_EXPONENTIAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EXPONENTIAL_SIZE 160 /* the default of the specification, like the scale */
#define EXPONENTIAL_SCALE_MAX 20
#define EXPONENTIAL_SLOTS 256 /* a power of two: bucket i is at slot i modulo this, however the range moves */

struct exponential {
    uint64_t zeros;
    bool any;          /* value above zero; the rest holds nothing before */
    int32_t scale;     /* EXPONENTIAL_SCALE_MAX or less */
    int32_t low, high; /* the first and the last bucket that is not empty */
    uint64_t counts[EXPONENTIAL_SLOTS];
};

/* The bucket of `value` at a scale of at most EXPONENTIAL_SCALE_MAX; `value` is finite and above zero. Powers of two
 * are bounds at every scale, and exact; elsewhere a value that differs from a bound in its last bits may be counted on
 * the other side of it, which the specification allows. */
int32_t exponential_bucket(double value, int32_t scale);
/* `value` is finite and not negative. */
void exponential_record(struct exponential *e, double value);
/* Counts what `from` has in `into` as well: the same as if all of it had been recorded there. */
void exponential_add(struct exponential *into, const struct exponential *from);
void exponential_clear(struct exponential *e);
/* Copies the counts of the buckets from `low` to `high`; returns how many these are, 0 when it holds no value above
 * zero. */
size_t exponential_counts(const struct exponential *e, uint64_t ret[EXPONENTIAL_SIZE]);

#endif
