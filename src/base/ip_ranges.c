#include "base/ip_ranges.h"

#include <errno.h>
#include <stdlib.h>

static int compare_ranges(const void *a, const void *b)
{
    const struct ip_range *left = a, *right = b;
    return ip_compare(&left->first, &right->first);
}

/* Whether `range`, which does not start before `before`, overlaps it or follows without a gap. */
static bool joins(const struct ip_range *before, const struct ip_range *range)
{
    if (before->last.family != range->first.family)
        return false;
    struct ip_addr next;
    return !ip_next(&before->last, &next) || ip_compare(&range->first, &next) <= 0;
}

/* Merges sorted ranges in place and returns how many are left. */
static size_t merge(struct ip_range *ranges, size_t n)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        if (!kept || !joins(&ranges[kept - 1], &ranges[i]))
            ranges[kept++] = ranges[i];
        else if (ip_compare(&ranges[i].last, &ranges[kept - 1].last) > 0)
            ranges[kept - 1].last = ranges[i].last;
    }
    return kept;
}

/* Takes an array of sorted ranges over. One array for both families: IPv4 sorts first, so `v4` is what was allocated.
 */
static struct ip_ranges from_sorted(struct ip_range *ranges, size_t n)
{
    size_t kept = merge(ranges, n), n_v4 = 0;
    while (n_v4 < kept && ranges[n_v4].first.family == AF_INET)
        n_v4++;
    return (struct ip_ranges){.v4 = ranges, .v6 = ranges + n_v4, .n_v4 = n_v4, .n_v6 = kept - n_v4};
}

int ip_ranges_build(const struct ip_prefix *prefixes, size_t n, struct ip_ranges *ret)
{
    if (!n) {
        *ret = (struct ip_ranges){0};
        return 0;
    }
    struct ip_range *ranges = calloc(n, sizeof(*ranges));
    if (!ranges)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++)
        ranges[i] = ip_prefix_range(&prefixes[i]);
    qsort(ranges, n, sizeof(*ranges), compare_ranges);
    *ret = from_sorted(ranges, n);
    return 0;
}

/* The `i`-th of both families; NULL after the last. */
static const struct ip_range *range_at(const struct ip_ranges *ranges, size_t i)
{
    if (i < ranges->n_v4)
        return &ranges->v4[i];
    return i - ranges->n_v4 < ranges->n_v6 ? &ranges->v6[i - ranges->n_v4] : NULL;
}

int ip_ranges_join(const struct ip_ranges *a, const struct ip_ranges *b, struct ip_ranges *ret)
{
    size_t n = a->n_v4 + a->n_v6 + b->n_v4 + b->n_v6, from_a = 0;
    struct ip_range *ranges = calloc(n ? n : 1, sizeof(*ranges));
    if (!ranges)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++) {
        const struct ip_range *left = range_at(a, from_a), *right = range_at(b, i - from_a);
        bool take_left = !right || (left && compare_ranges(left, right) <= 0);
        ranges[i] = take_left ? *left : *right;
        from_a += take_left;
    }
    *ret = from_sorted(ranges, n);
    return 0;
}

void ip_ranges_done(struct ip_ranges *ranges)
{
    free((void *)ranges->v4);
    *ranges = (struct ip_ranges){0};
}

bool ip_ranges_contain(const struct ip_ranges *ranges, const struct ip_addr *addr)
{
    const struct ip_range *of_family = addr->family == AF_INET ? ranges->v4 : ranges->v6;
    size_t low = 0, high = addr->family == AF_INET ? ranges->n_v4 : ranges->n_v6;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (ip_compare(&of_family[middle].last, addr) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    size_t n = addr->family == AF_INET ? ranges->n_v4 : ranges->n_v6;
    return low < n && ip_compare(&of_family[low].first, addr) <= 0;
}

bool ip_ranges_refuse(const struct ip_ranges *ranges, const struct ip_addr *addr)
{
    struct ip_addr v4;
    return ip_ranges_contain(ranges, addr) || (ip_embedded(addr, &v4) && ip_ranges_contain(ranges, &v4));
}

/* Merged ranges are never adjacent, so one that is covered lies in one. */
static bool within(const struct ip_range *inner, size_t n_inner, const struct ip_range *outer, size_t n_outer)
{
    size_t at = 0;
    for (size_t i = 0; i < n_inner; i++) {
        while (at < n_outer && ip_compare(&outer[at].last, &inner[i].last) < 0)
            at++;
        if (at == n_outer || ip_compare(&outer[at].first, &inner[i].first) > 0)
            return false;
    }
    return true;
}

bool ip_ranges_within(const struct ip_ranges *inner, const struct ip_ranges *outer)
{
    return within(inner->v4, inner->n_v4, outer->v4, outer->n_v4) &&
           within(inner->v6, inner->n_v6, outer->v6, outer->n_v6);
}
