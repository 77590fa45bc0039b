#include "dns/query.h"

#include "base/wire.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>

#define ID_SLOTS 8192

TAILQ_HEAD(query_deadlines, query);

struct query_pool {
    uint8_t *queries;       /* mapped, touched only as far as ever needed at once */
    size_t size;            /* of each */
    size_t capacity, fresh; /* those from `fresh` on were never used */
    size_t count;
    struct query *free;                  /* last released first: its memory is warm */
    struct query_deadlines deadlines[2]; /* by enum query_wait */
    uint16_t by_id[ID_SLOTS];            /* by its lower bits: number + 1 of the first of a chain */
    uint32_t random[64];
    unsigned random_left;
};

static struct query *query_at(const struct query_pool *pool, size_t number)
{
    return (struct query *)(void *)(pool->queries + number * pool->size);
}

int query_pool_new(size_t capacity, size_t upstreams, struct query_pool **ret)
{
    struct query_pool *pool = calloc(1, sizeof(*pool));
    if (!pool)
        return -ENOMEM;
    pool->capacity = capacity;
    pool->size = sizeof(struct query) + upstreams * sizeof(struct attempt);
    pool->queries = mmap(NULL, capacity * pool->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pool->queries == MAP_FAILED) {
        free(pool);
        return -ENOMEM;
    }
    for (int kind = 0; kind < 2; kind++)
        TAILQ_INIT(&pool->deadlines[kind]);
    *ret = pool;
    return 0;
}

void query_pool_free(struct query_pool *pool)
{
    if (!pool)
        return;
    munmap(pool->queries, pool->capacity * pool->size);
    free(pool);
}

uint32_t query_random(struct query_pool *pool)
{
    if (!pool->random_left) {
        /* Up to 256 bytes come whole or not at all, and never fail once the kernel's generator is seeded. */
        while (getrandom(pool->random, sizeof(pool->random), 0) != (ssize_t)sizeof(pool->random))
            ;
        pool->random_left = sizeof(pool->random) / sizeof(pool->random[0]);
    }
    return pool->random[--pool->random_left];
}

struct query *query_by_id(const struct query_pool *pool, uint16_t id)
{
    for (unsigned at = pool->by_id[id % ID_SLOTS]; at;) {
        struct query *query = query_at(pool, at - 1);
        if (query->id == id)
            return query;
        at = query->same_slot;
    }
    return NULL;
}

static void assign_id(struct query_pool *pool, struct query *query)
{
    uint16_t id;
    do
        id = (uint16_t)query_random(pool); /* the pool is far smaller than the ids: few rounds */
    while (query_by_id(pool, id));
    query->id = id;
    query->same_slot = pool->by_id[id % ID_SLOTS];
    pool->by_id[id % ID_SLOTS] = query->number + 1;
    wire_store16(query->packet, id);
}

static void give_back_id(struct query_pool *pool, const struct query *query)
{
    uint16_t *link = &pool->by_id[query->id % ID_SLOTS];
    while (*link != query->number + 1)
        link = &query_at(pool, *link - 1u)->same_slot;
    *link = query->same_slot;
}

struct query *query_take(struct query_pool *pool, const uint8_t *msg, size_t len)
{
    struct query *query = pool->free;
    assert(len <= QUERY_PACKET_MAX);
    if (query) {
        pool->free = query->next_free;
    } else if (pool->fresh < pool->capacity) {
        query = query_at(pool, pool->fresh);
        query->number = (uint16_t)pool->fresh++;
    } else {
        return NULL;
    }
    pool->count++;
    memcpy(query->packet, msg, len);
    query->len = (uint16_t)len;
    query->client_id = LDNS_ID_WIRE(msg);
    query->tcp = NULL;
    query->tried = query->awaited = 0;
    query->alone = false;
    query->purpose = QUERY_CLIENT;
    query->taken = true;
    query->error = NULL;
    query->waits_in = NULL;
    query->may_be_kept = query->shared = query->mixed = false;
    query->next_asker = query->last_asker = NULL;
    query->sent_again_ns = 0;
    assign_id(pool, query);
    return query;
}

void query_release(struct query_pool *pool, struct query *query)
{
    query_await_no_more(query);
    give_back_id(pool, query);
    query->next_free = pool->free;
    pool->free = query;
    query->taken = false;
    pool->count--;
}

bool query_walk(const struct query_pool *pool, size_t *number, struct query **ret)
{
    if (*number == pool->fresh)
        return false;
    struct query *query = query_at(pool, (*number)++);
    *ret = query->taken ? query : NULL;
    return true;
}

/* Done twice it is undone. A random word serves 64 octets of the name: turned by one bit for each eight of them. */
static void flip_letters(struct query *query)
{
    size_t len = (size_t)query->question_end - DNS_HEADER_SIZE - 4;
    uint8_t *name = query->packet + DNS_HEADER_SIZE, behind[8]; /* the packet does not end before they do */
    uint64_t random = 0, word;
    memcpy(behind, name + len, sizeof(behind));
    for (size_t i = 0; i < len; i += 8) {
        random = i % 64 ? random >> 1 | random << 63 : query->case_bits[i / 64];
        memcpy(&word, name + i, 8);
        word ^= dns_letters(word, 'a', 'z', 0x20) & random;
        memcpy(name + i, &word, 8);
    }
    memcpy(name + len, behind, sizeof(behind));
}

void query_mix_case(struct query_pool *pool, struct query *query)
{
    size_t len = (size_t)query->question_end - DNS_HEADER_SIZE - 4;
    for (size_t i = 0; i * 64 < len; i++)
        query->case_bits[i] = (uint64_t)query_random(pool) << 32 | query_random(pool);
    flip_letters(query);
    query->mixed = true;
}

void query_give_back(struct query *query)
{
    wire_store16(query->packet, query->client_id);
    if (query->mixed)
        flip_letters(query);
    query->mixed = false;
}

size_t query_count(const struct query_pool *pool)
{
    return pool->count;
}

void query_await(struct query_pool *pool, struct query *query, enum query_wait kind, uint64_t deadline_ns)
{
    query_await_no_more(query);
    query->deadline_ns = deadline_ns;
    query->waits_in = &pool->deadlines[kind];
    struct query *before = TAILQ_LAST(query->waits_in, query_deadlines);
    while (before && before->deadline_ns > deadline_ns)
        before = TAILQ_PREV(before, query_deadlines, deadline_link);
    if (before)
        TAILQ_INSERT_AFTER(query->waits_in, before, query, deadline_link);
    else
        TAILQ_INSERT_HEAD(query->waits_in, query, deadline_link);
}

void query_await_no_more(struct query *query)
{
    if (query->waits_in)
        TAILQ_REMOVE(query->waits_in, query, deadline_link);
    query->waits_in = NULL;
}

static struct query *first_of_clients(const struct query_deadlines *list)
{
    struct query *query;
    TAILQ_FOREACH(query, list, deadline_link) /* there are few others */
    if (query->purpose == QUERY_CLIENT)
        break;
    return query;
}

struct query *query_oldest(const struct query_pool *pool)
{
    struct query *step = first_of_clients(&pool->deadlines[QUERY_STEP]);
    struct query *end = first_of_clients(&pool->deadlines[QUERY_END]);
    return !end || (step && step->started_ns <= end->started_ns) ? step : end;
}

bool query_pool_full(const struct query_pool *pool)
{
    return pool->count == pool->capacity;
}

struct query *query_earliest(const struct query_pool *pool)
{
    struct query *step = TAILQ_FIRST(&pool->deadlines[QUERY_STEP]), *end = TAILQ_FIRST(&pool->deadlines[QUERY_END]);
    return !end || (step && step->deadline_ns <= end->deadline_ns) ? step : end;
}
