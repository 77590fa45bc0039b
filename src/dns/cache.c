#include "dns/cache.h"

#include "base/loop.h"
#include "base/wire.h"
#include "dns/blocks.h"
#include "policy/hash.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define BLOCKS_MIN blocks_for(CACHE_ROOM)

/* Entries count from 1; 0 is none. Its bytes are the message, the name of the question in lower case, and behind it the
 * offsets of the TTLs. */
struct entry {
    uint64_t hash;
    uint64_t kept_ns;
    uint32_t variant;
    uint32_t life;         /* seconds */
    uint32_t same_bucket;  /* or the next free entry */
    uint32_t newer, older; /* by age */
    uint32_t bytes;        /* in the blocks */
    uint16_t len, n_ttls, n_addresses;
    bool asked; /* since the hand came by */
};

struct cache {
    uint32_t capacity, mask;
    size_t mapped;
    uint32_t *buckets;
    struct entry *entries; /* [0] is not used */
    struct blocks blocks;
    uint32_t count, fresh, free; /* entries: in use; never used from `fresh` on; given back */
    uint32_t newest, oldest, hand;
};

static size_t page_aligned(size_t size)
{
    return (size + 4095) & ~(size_t)4095;
}

int cache_new(size_t entries, struct cache **ret)
{
    assert(entries && entries <= CACHE_ENTRIES_MAX);
    size_t buckets = 1, blocks = entries * CACHE_BYTES_PER_ANSWER / sizeof(struct block);
    while (buckets < entries)
        buckets *= 2;
    if (blocks < BLOCKS_MIN)
        blocks = BLOCKS_MIN;
    size_t bucket_bytes = page_aligned(buckets * sizeof(uint32_t));
    size_t entry_bytes = page_aligned((entries + 1) * sizeof(struct entry));
    size_t mapped = bucket_bytes + entry_bytes + page_aligned((blocks + 1) * sizeof(struct block));
    struct cache *cache = calloc(1, sizeof(*cache));
    if (!cache)
        return -ENOMEM;
    uint8_t *memory = mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        free(cache);
        return -ENOMEM;
    }
    *cache = (struct cache){.capacity = (uint32_t)entries,
                            .mask = (uint32_t)buckets - 1,
                            .mapped = mapped,
                            .buckets = (uint32_t *)(void *)memory,
                            .entries = (struct entry *)(void *)(memory + bucket_bytes)};
    blocks_init(&cache->blocks, (struct block *)(void *)(memory + bucket_bytes + entry_bytes), (uint32_t)blocks);
    cache_clear(cache);
    *ret = cache;
    return 0;
}

void cache_free(struct cache *cache)
{
    if (!cache)
        return;
    munmap(cache->buckets, cache->mapped);
    free(cache);
}

void cache_clear(struct cache *cache)
{
    if (cache->count)
        memset(cache->buckets, 0, (cache->mask + 1) * sizeof(*cache->buckets));
    cache->count = cache->free = 0;
    cache->fresh = 1;
    blocks_init(&cache->blocks, cache->blocks.list, cache->blocks.n);
    cache->newest = cache->oldest = cache->hand = 0;
}

size_t cache_count(const struct cache *cache)
{
    return cache->count;
}

struct cache_key cache_key(uint64_t seed, const uint8_t *query, const struct dns_question *question,
                           const struct dns_edns *edns)
{
    uint32_t flags = (uint32_t)((query[2] & DNS_KEPT_FLAGS_2) << 8 | (query[3] & DNS_KEPT_FLAGS_3));
    uint64_t hash = hash_mix(seed ^ (uint64_t)question->type << 32, 0x9e3779b97f4a7c15u);
    return (struct cache_key){
        .hash = hash_bytes(hash, question->name, question->name_len),
        .variant = flags << 2 | (uint32_t)edns->dnssec_ok << 1 | edns->present,
    };
}

/* --- entries --- */

static uint32_t find(const struct cache *cache, const struct cache_key *key)
{
    uint32_t at = cache->buckets[key->hash & cache->mask];
    while (at && (cache->entries[at].hash != key->hash || cache->entries[at].variant != key->variant))
        at = cache->entries[at].same_bucket;
    return at;
}

static void drop(struct cache *cache, uint32_t at)
{
    struct entry *entry = &cache->entries[at];
    uint32_t *link = &cache->buckets[entry->hash & cache->mask];
    while (*link != at)
        link = &cache->entries[*link].same_bucket;
    *link = entry->same_bucket;
    if (cache->hand == at)
        cache->hand = entry->newer;
    *(entry->newer ? &cache->entries[entry->newer].older : &cache->newest) = entry->older;
    *(entry->older ? &cache->entries[entry->older].newer : &cache->oldest) = entry->newer;
    blocks_free(&cache->blocks, entry->bytes);
    entry->same_bucket = cache->free;
    cache->free = at;
    cache->count--;
}

static bool is_over(const struct entry *entry, uint64_t now_ns)
{
    return now_ns - entry->kept_ns >= entry->life * NS_PER_S;
}

/* Each entry is spared once in a round, so this ends. */
static void make_room(struct cache *cache, uint64_t now_ns)
{
    uint32_t at = cache->hand;
    for (;; at = cache->entries[at].newer) {
        if (!at)
            at = cache->oldest;
        struct entry *entry = &cache->entries[at];
        if (!entry->asked || is_over(entry, now_ns))
            break;
        entry->asked = false;
    }
    cache->hand = at;
    drop(cache, at);
}

static uint32_t take_entry(struct cache *cache)
{
    uint32_t at = cache->free;
    if (at)
        cache->free = cache->entries[at].same_bucket;
    else
        at = cache->fresh++;
    cache->count++;
    return at;
}

void cache_put(struct cache *cache, const struct cache_key *key, const struct dns_question *question,
               const uint8_t *msg, size_t len, const struct ttls *ttls, uint64_t now_ns)
{
    uint32_t at = find(cache, key);
    bool asked = at && cache->entries[at].asked;
    if (at)
        drop(cache, at);
    if (len > CACHE_ANSWER_MAX)
        return;
    while (cache->count == cache->capacity || cache->blocks.left < blocks_for(len + 2u * ttls->n))
        make_room(cache, now_ns);
    at = take_entry(cache);
    uint32_t *bucket = &cache->buckets[key->hash & cache->mask];
    uint32_t last = blocks_begin(&cache->blocks);
    struct entry *entry = &cache->entries[at];
    *entry = (struct entry){.hash = key->hash,
                            .variant = key->variant,
                            .kept_ns = now_ns,
                            .life = ttls->life,
                            .same_bucket = *bucket,
                            .older = cache->newest,
                            .bytes = last,
                            .len = (uint16_t)len,
                            .n_ttls = ttls->n,
                            .n_addresses = ttls->n_addresses,
                            .asked = asked};
    *bucket = at;
    *(cache->newest ? &cache->entries[cache->newest].newer : &cache->oldest) = at;
    cache->newest = at;
    size_t name_end = DNS_HEADER_SIZE + (size_t)question->name_len, written = 0;
    blocks_append(&cache->blocks, &last, &written, msg, DNS_HEADER_SIZE);
    blocks_append(&cache->blocks, &last, &written, question->name, question->name_len);
    blocks_append(&cache->blocks, &last, &written, msg + name_end, len - name_end);
    blocks_append(&cache->blocks, &last, &written, ttls->at, 2u * ttls->n);
}

/* --- taking out --- */

static bool same_question(const uint8_t *msg, const struct dns_question *question)
{
    const uint8_t *name = msg + DNS_HEADER_SIZE;
    return !memcmp(name, question->name, question->name_len) &&
           wire_load16(name + question->name_len) == question->type;
}

static uint32_t count_down(uint8_t *msg, const uint8_t *offset, uint32_t seconds, uint16_t *ret_at)
{
    uint16_t at;
    memcpy(&at, offset, 2);
    uint32_t ttl = wire_load32(msg + at);
    ttl = ttl > seconds && ttl <= INT32_MAX ? ttl - seconds : 0;
    wire_store32(msg + at, ttl);
    *ret_at = at;
    return ttl;
}

size_t cache_get(struct cache *cache, const struct cache_key *key, const struct dns_question *question, uint64_t now_ns,
                 uint8_t *ret_msg, struct dns_found *ret_found, size_t *ret_n)
{
    uint32_t at = find(cache, key);
    if (!at)
        return 0;
    struct entry *entry = &cache->entries[at];
    entry->asked = true;
    if (is_over(entry, now_ns))
        return 0; /* it stays until its successor comes, which inherits that it was asked for */
    blocks_copy(&cache->blocks, entry->bytes, ret_msg, entry->len + 2u * entry->n_ttls);
    if (!same_question(ret_msg, question))
        return 0;
    uint32_t seconds = (uint32_t)((now_ns - entry->kept_ns) / NS_PER_S);
    for (size_t i = 0; i < entry->n_ttls; i++) {
        uint16_t ttl_at;
        uint32_t ttl = count_down(ret_msg, ret_msg + entry->len + 2 * i, seconds, &ttl_at);
        const uint8_t *data = ret_msg + ttl_at + 6; /* behind the TTL and the length of the data */
        if (i < entry->n_addresses)
            ret_found[i] =
                (struct dns_found){.addr = question->type == LDNS_RR_TYPE_A ? ip_from_v4(data) : ip_from_v6(data),
                                   .ttl = ttl,
                                   .ttl_at = ttl_at,
                                   .chain_ttl = UINT32_MAX};
    }
    ret_msg[2] &= (uint8_t)~LDNS_AA_MASK;
    *ret_n = entry->n_addresses;
    return entry->len;
}
