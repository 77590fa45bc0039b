#include "base/exponential.h"

#include <math.h>
#include <string.h>

#define BUCKETS_PER_DOUBLING (1 << EXPONENTIAL_SCALE_MAX) /* at the finest scale */

static uint64_t *slot(struct exponential *e, int32_t bucket)
{
    return &e->counts[(uint32_t)bucket % EXPONENTIAL_SLOTS];
}

/* The bucket at the finest scale. The logarithm is taken of the part between two powers of two alone, so its rounding
 * cannot carry a value over a power of two, and is the same for small and large values. */
static int32_t finest_bucket(double value)
{
    int exponent;
    double fraction = frexp(value, &exponent); /* 0.5 <= fraction < 1 */
    if (fraction == 0.5)
        return (exponent - 1) * BUCKETS_PER_DOUBLING - 1; /* the upper bound belongs to the bucket */
    int32_t within = (int32_t)ceil(log2(fraction * 2) * BUCKETS_PER_DOUBLING) - 1;
    if (within < 0)
        within = 0;
    if (within >= BUCKETS_PER_DOUBLING)
        within = BUCKETS_PER_DOUBLING - 1;
    return (exponent - 1) * BUCKETS_PER_DOUBLING + within;
}

/* Two buckets become one at the next coarser scale. Right shifts of negative numbers round down, with gcc and clang. */
static int32_t coarser(int32_t bucket, int32_t by)
{
    return bucket >> by;
}

int32_t exponential_bucket(double value, int32_t scale)
{
    return coarser(finest_bucket(value), EXPONENTIAL_SCALE_MAX - scale);
}

/* How much coarser it must become for all from `low` to `high` to fit. */
static int32_t coarsening(int32_t low, int32_t high)
{
    int32_t by = 0;
    while ((int64_t)coarser(high, by) - coarser(low, by) >= EXPONENTIAL_SIZE)
        by++;
    return by;
}

static void coarsen(struct exponential *e, int32_t by)
{
    if (!by)
        return;
    uint64_t counts[EXPONENTIAL_SLOTS] = {0};
    for (int32_t i = e->low; i <= e->high; i++)
        counts[(uint32_t)coarser(i, by) % EXPONENTIAL_SLOTS] += *slot(e, i);
    memcpy(e->counts, counts, sizeof(counts));
    e->low = coarser(e->low, by);
    e->high = coarser(e->high, by);
    e->scale -= by;
}

/* Makes room for the buckets from `low` to `high`, which are of the scale that `e` has now. Returns by how much that
 * scale became coarser. */
static int32_t extend(struct exponential *e, int32_t low, int32_t high)
{
    low = low < e->low ? low : e->low;
    high = high > e->high ? high : e->high;
    int32_t by = coarsening(low, high);
    coarsen(e, by);
    e->low = coarser(low, by);
    e->high = coarser(high, by);
    return by;
}

void exponential_record(struct exponential *e, double value)
{
    if (!(value > 0)) {
        e->zeros++;
        return;
    }
    int32_t bucket = finest_bucket(value);
    if (!e->any) {
        e->any = true;
        e->scale = EXPONENTIAL_SCALE_MAX;
        e->low = e->high = bucket;
    }
    bucket = coarser(bucket, EXPONENTIAL_SCALE_MAX - e->scale);
    if (bucket < e->low || bucket > e->high)
        bucket = coarser(bucket, extend(e, bucket, bucket));
    ++*slot(e, bucket);
}

void exponential_add(struct exponential *into, const struct exponential *from)
{
    if (!from->any || !into->any) {
        uint64_t zeros = into->zeros + from->zeros;
        if (from->any)
            *into = *from;
        into->zeros = zeros;
        return;
    }
    into->zeros += from->zeros;
    if (into->scale > from->scale)
        coarsen(into, into->scale - from->scale);
    int32_t by = from->scale - into->scale;
    by += extend(into, coarser(from->low, by), coarser(from->high, by));
    for (int32_t i = from->low; i <= from->high; i++)
        *slot(into, coarser(i, by)) += from->counts[(uint32_t)i % EXPONENTIAL_SLOTS];
}

void exponential_clear(struct exponential *e)
{
    if (e->any)
        memset(e->counts, 0, sizeof(e->counts));
    e->any = false;
    e->zeros = 0;
}

size_t exponential_counts(const struct exponential *e, uint64_t ret[EXPONENTIAL_SIZE])
{
    size_t n = 0;
    if (!e->any)
        return 0;
    for (int32_t i = e->low; i <= e->high; i++)
        ret[n++] = e->counts[(uint32_t)i % EXPONENTIAL_SLOTS];
    return n;
}
