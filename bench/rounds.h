/* What benchmarks share: clocks, and the median over rounds. */
#ifndef BENCH_ROUNDS_H
#define BENCH_ROUNDS_H

#include <stddef.h>
#include <stdlib.h>
#include <time.h>

static inline double clock_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static inline double now_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

static inline int ascending(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

/* Sorts them, too: the first and the last are the least and the most. */
static inline double median(double *values, size_t n)
{
    qsort(values, n, sizeof(*values), ascending);
    return values[n / 2];
}

#endif
