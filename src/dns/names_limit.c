#include "dns/names_limit.h"

#include "base/loop.h"
#include "policy/public_suffix.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define WAYS 8 /* one cache line */
#define BUCKETS (NAMES_KNOWN / WAYS)
#define CELLS 2048
#define MINUTE_NS (60 * NS_PER_S)
#define SUFFIX_LABELS_MAX 8 /* more than any public suffix and one in front of it have */

/* A name that was asked for: the upper 40 bits of its hash, whether it was refused, and the minute (from 1) of the
 * latest query. 0 is none. */
#define TAG_SHIFT 24
#define REFUSED (1u << 23)
#define MINUTE_MASK (REFUSED - 1)

struct counts {
    uint32_t cells[2][CELLS];
};

struct names_limit {
    struct hash_key key;
    unsigned per_minute;
    uint64_t minute;           /* of `now` */
    struct counts now, before; /* new names by rule in this minute, and in the one before */
    uint64_t names[BUCKETS][WAYS];
};

int names_limit_new(unsigned per_minute, const struct hash_key *key, struct names_limit **ret)
{
    struct names_limit *limit = calloc(1, sizeof(*limit));
    if (!limit)
        return -ENOMEM;
    limit->key = *key;
    limit->per_minute = per_minute;
    *ret = limit;
    return 0;
}

void names_limit_free(struct names_limit *limit)
{
    free(limit);
}

static void turn(struct names_limit *limit, uint64_t minute)
{
    if (limit->minute + 1 == minute)
        limit->before = limit->now;
    else
        memset(&limit->before, 0, sizeof(limit->before));
    memset(&limit->now, 0, sizeof(limit->now));
    limit->minute = minute;
}

static unsigned minutes_ago(const struct names_limit *limit, uint64_t name)
{
    return (unsigned)((limit->minute - name) & MINUTE_MASK);
}

/* Whether somebody would miss it: a known name that is not forgotten yet. */
static bool is_known(const struct names_limit *limit, uint64_t name)
{
    return name && !(name & REFUSED) && minutes_ago(limit, name) <= NAMES_KNOWN_MINUTES;
}

/* The place of the name, or the one that it may take: that of a known name only when there is no other. */
static uint64_t *find_place(const struct names_limit *limit, uint64_t *bucket, uint64_t hash)
{
    uint64_t *place = &bucket[0];
    for (size_t i = 0; i < WAYS; i++) {
        if (bucket[i] && bucket[i] >> TAG_SHIFT == hash >> TAG_SHIFT)
            return &bucket[i];
        bool known = is_known(limit, bucket[i]), place_known = is_known(limit, *place);
        if (place_known > known || (place_known == known && minutes_ago(limit, bucket[i]) > minutes_ago(limit, *place)))
            place = &bucket[i];
    }
    return place;
}

/* Where the part of the name begins that the rule's limit is for. */
static size_t zone_start(const struct rule *rule, const uint8_t *wire, size_t len)
{
    if (rule && rule->kind == TARGET_WILDCARD)
        return len - rule->name_len;
    size_t labels = 0, at = 0;
    for (size_t i = 0; wire[i]; i += wire[i] + 1u)
        labels++;
    for (; wire[at]; at += wire[at] + 1u, labels--) {
        size_t parent = at + wire[at] + 1u;
        if (labels <= SUFFIX_LABELS_MAX && public_suffix_is(wire + parent, len - parent))
            break;
    }
    return at;
}

static uint32_t least(const struct counts *counts, const size_t cells[2])
{
    uint32_t a = counts->cells[0][cells[0]], b = counts->cells[1][cells[1]];
    return a < b ? a : b;
}

/* Counts a new name; whether there are not too many. */
static bool count(struct names_limit *limit, const struct rule *rule, const uint8_t *wire, size_t len)
{
    size_t start = zone_start(rule, wire, len);
    uint64_t hash = keyed_hash(&limit->key, wire + start, len - start);
    const size_t cells[2] = {hash % CELLS, (hash >> 32) % CELLS};
    for (size_t i = 0; i < 2; i++)
        if (limit->now.cells[i][cells[i]] < UINT32_MAX)
            limit->now.cells[i][cells[i]]++;
    return least(&limit->now, cells) <= limit->per_minute && least(&limit->before, cells) <= limit->per_minute;
}

bool names_limit_take(struct names_limit *limit, const struct rule *rule, const uint8_t *wire, size_t len,
                      uint64_t now_ns)
{
    uint64_t minute = now_ns / MINUTE_NS + 1;
    if (rule && rule->kind == TARGET_NAME)
        return true;
    if (minute != limit->minute)
        turn(limit, minute);
    uint64_t hash = keyed_hash(&limit->key, wire, len);
    uint64_t *place = find_place(limit, limit->names[hash % BUCKETS], hash);
    uint64_t name = hash >> TAG_SHIFT << TAG_SHIFT | (minute & MINUTE_MASK);
    bool same = *place && *place >> TAG_SHIFT == hash >> TAG_SHIFT, known = same && is_known(limit, *place);
    if (known) {
        *place = name;
        return true;
    }
    if (same && *place & REFUSED && !minutes_ago(limit, *place))
        return false; /* it was counted */
    bool may = count(limit, rule, wire, len);
    if (may)
        *place = name;
    else if (!is_known(limit, *place))
        *place = name | REFUSED;
    return may;
}
