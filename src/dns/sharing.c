#include "dns/sharing.h"

#include <string.h>

static struct query **bucket_of(struct sharing *sharing, uint64_t hash)
{
    return &sharing->buckets[hash % SHARING_BUCKETS];
}

static bool same_question(const struct query *a, const struct query *b)
{
    size_t name_len = (size_t)a->question_end - DNS_HEADER_SIZE - 4;
    uint8_t name_a[DNS_NAME_MAX], name_b[DNS_NAME_MAX];
    if (a->key.hash != b->key.hash || a->type != b->type || a->question_end != b->question_end)
        return false;
    dns_lower(name_a, a->packet + DNS_HEADER_SIZE, name_len);
    dns_lower(name_b, b->packet + DNS_HEADER_SIZE, name_len);
    return !memcmp(name_a, name_b, name_len);
}

/* Puts `asker`, alone, behind those that wait for `query`. */
static void append(struct query *query, struct query *asker)
{
    asker->next_asker = NULL;
    (query->last_asker ? query->last_asker : query)->next_asker = asker;
    query->last_asker = asker;
}

static void begin(struct sharing *sharing, struct query *query)
{
    struct query **bucket = bucket_of(sharing, query->key.hash);
    query->shared = true;
    query->next_shared = *bucket;
    *bucket = query;
}

struct query *sharing_join(struct sharing *sharing, struct query *query)
{
    struct query *other = *bucket_of(sharing, query->key.hash);
    while (other && !same_question(other, query))
        other = other->next_shared;
    if (other)
        append(other, query);
    else
        begin(sharing, query);
    return other;
}

void sharing_end(struct sharing *sharing, struct query *query)
{
    if (!query->shared)
        return;
    struct query **link = bucket_of(sharing, query->key.hash);
    while (*link != query)
        link = &(*link)->next_shared;
    *link = query->next_shared;
    query->shared = false;
}

struct query *sharing_split(struct sharing *sharing, struct query *query, bool cut)
{
    struct query *others = NULL, *asker = query->next_asker;
    sharing_end(sharing, query);
    query->next_asker = query->last_asker = NULL;
    for (struct query *next; asker; asker = next) {
        next = asker->next_asker;
        if (asker->key.variant == query->key.variant && !(cut && query_wants_all(asker))) {
            append(query, asker);
        } else if (others) {
            append(others, asker);
        } else {
            asker->next_asker = NULL;
            others = asker;
        }
    }
    if (others)
        begin(sharing, others);
    return others;
}
