#include "base/histogram.h"

#include <math.h>
#include <sched.h>
#include <string.h>

const double histogram_bounds[HISTOGRAM_BOUNDS] = {0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25,
                                                   0.5,   0.75, 1,     2.5,  5,     7.5, 10};

static void extend_range(struct histogram_values *values, double min, double max)
{
    if (!values->count || min < values->min)
        values->min = min;
    if (!values->count || max > values->max)
        values->max = max;
}

static void count(struct histogram_values *values, double seconds, bool exponential)
{
    size_t bucket = 0;
    while (bucket < HISTOGRAM_BOUNDS && seconds > histogram_bounds[bucket])
        bucket++;
    extend_range(values, seconds, seconds);
    values->buckets[bucket]++;
    values->count++;
    values->sum += seconds;
    if (exponential)
        exponential_record(&values->exponential, seconds);
}

/* Either the reader sees that a record is under way, or the record sees which set the reader left to it: the store to
 * `sequence` and the load of `filled` here, and the store to `filled` and the load of `sequence` there, are in one
 * order for all threads (sequential consistency). */
void histogram_record(struct histogram *histogram, double seconds)
{
    if (!(seconds >= 0) || !isfinite(seconds))
        return;
    uint32_t sequence = atomic_load_explicit(&histogram->sequence, memory_order_relaxed);
    atomic_store(&histogram->sequence, sequence + 1);
    count(&histogram->values[atomic_load(&histogram->filled)], seconds, histogram->exponential);
    atomic_store_explicit(&histogram->sequence, sequence + 2, memory_order_release);
}

const struct histogram_values *histogram_take(struct histogram *histogram)
{
    uint32_t before = atomic_load_explicit(&histogram->filled, memory_order_relaxed);
    histogram_values_clear(&histogram->values[!before]); /* taken the last time */
    atomic_store(&histogram->filled, !before);
    uint32_t sequence = atomic_load(&histogram->sequence);
    if (sequence % 2)
        while (atomic_load(&histogram->sequence) == sequence)
            sched_yield(); /* the writer may have been interrupted in the middle */
    return &histogram->values[before];
}

void histogram_values_add(struct histogram_values *into, const struct histogram_values *from)
{
    if (!from->count)
        return;
    extend_range(into, from->min, from->max);
    into->count += from->count;
    into->sum += from->sum;
    for (size_t i = 0; i <= HISTOGRAM_BOUNDS; i++)
        into->buckets[i] += from->buckets[i];
    exponential_add(&into->exponential, &from->exponential);
}

void histogram_values_clear(struct histogram_values *values)
{
    if (!values->count)
        return;
    values->count = 0;
    values->sum = values->min = values->max = 0;
    memset(values->buckets, 0, sizeof(values->buckets));
    exponential_clear(&values->exponential);
}
