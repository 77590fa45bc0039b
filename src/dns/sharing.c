#include "dns/sharing.h"

#include <string.h>

static struct query **bucket_of(struct sharing *sharing, uint64_t hash)
{
    return &sharing->buckets[hash % SHARING_BUCKETS];
}

/* What upstreams are told to send at most. */
static uint16_t asked_payload(const struct query *query)
{
    uint16_t payload = query->edns.payload;
    return payload < DNS_UDP_EDNS_MAX ? payload : DNS_UDP_EDNS_MAX;
}

/* Whether the answer to `a` is one to `b`. Over UDP it may come cut, over TCP it may not. */
static bool same(const struct query *a, const struct query *b)
{
    size_t name_len = (size_t)a->question_end - DNS_HEADER_SIZE - 4;
    uint8_t name_a[DNS_NAME_MAX], name_b[DNS_NAME_MAX];
    if (a->key.hash != b->key.hash || a->key.variant != b->key.variant || a->type != b->type ||
        a->question_end != b->question_end || !a->tcp != !b->tcp || asked_payload(a) != asked_payload(b))
        return false;
    dns_lower(name_a, a->packet + DNS_HEADER_SIZE, name_len);
    dns_lower(name_b, b->packet + DNS_HEADER_SIZE, name_len);
    return !memcmp(name_a, name_b, name_len);
}

bool sharing_join(struct sharing *sharing, struct query *query)
{
    struct query **bucket = bucket_of(sharing, query->key.hash);
    for (struct query *other = *bucket; other; other = other->next_shared) {
        if (other->n_askers == SHARING_MAX || query->started_ns - other->started_ns >= SHARING_NS ||
            !same(other, query))
            continue;
        query->next_asker = other->next_asker;
        other->next_asker = query;
        other->n_askers++;
        return true;
    }
    query->shared = true;
    query->next_shared = *bucket;
    *bucket = query;
    return false;
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
