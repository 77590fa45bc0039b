#include "nft/leases.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define INITIAL_SLOTS 64 /* a power of two */

struct leases {
    uint64_t seed;
    struct lease **slots; /* open addressing, linear probing, at most half full */
    size_t n_slots, count;
    struct lease **heap; /* by expires_ns, first element at 1; as much room as there are slots */
    uint32_t n_heap;
    struct lease *free; /* with the memory of their names */
};

int leases_new(uint64_t seed, struct leases **ret)
{
    struct leases *leases = calloc(1, sizeof(*leases));
    if (!leases)
        return -ENOMEM;
    leases->seed = seed;
    leases->n_slots = INITIAL_SLOTS;
    leases->slots = calloc(INITIAL_SLOTS, sizeof(*leases->slots));
    leases->heap = calloc(INITIAL_SLOTS, sizeof(*leases->heap));
    if (!leases->slots || !leases->heap) {
        leases_free(leases);
        return -ENOMEM;
    }
    *ret = leases;
    return 0;
}

static void lease_free(struct lease *lease)
{
    names_done(&lease->names);
    free(lease);
}

void leases_free(struct leases *leases)
{
    if (!leases)
        return;
    for (size_t i = 0; leases->slots && i < leases->n_slots; i++)
        if (leases->slots[i])
            lease_free(leases->slots[i]);
    for (struct lease *lease = leases->free, *next; lease; lease = next) {
        next = lease->next_free;
        lease_free(lease);
    }
    free(leases->slots);
    free(leases->heap);
    free(leases);
}

size_t leases_count(const struct leases *leases)
{
    return leases->count;
}

/* Two rounds of multiply and fold over the two halves of the address. */
static size_t home(const struct leases *leases, const struct ip_addr *addr)
{
    uint64_t half[2];
    memcpy(half, addr->bytes, sizeof(half));
    __uint128_t product = (__uint128_t)(half[0] ^ leases->seed) * 0x9e3779b97f4a7c15u;
    uint64_t folded = (uint64_t)product ^ (uint64_t)(product >> 64) ^ half[1];
    product = (__uint128_t)(folded ^ (leases->seed >> 32)) * 0xd6e8feb86659fd93u;
    return (size_t)((uint64_t)product ^ (uint64_t)(product >> 64)) & (leases->n_slots - 1);
}

/* The slot of the address, or the empty one where it would be. */
static size_t find_slot(const struct leases *leases, const struct ip_addr *addr)
{
    size_t slot = home(leases, addr);
    while (leases->slots[slot] && !ip_equal(&leases->slots[slot]->addr, addr))
        slot = (slot + 1) & (leases->n_slots - 1);
    return slot;
}

struct lease *leases_find(const struct leases *leases, const struct ip_addr *addr)
{
    return leases->slots[find_slot(leases, addr)];
}

static int grow(struct leases *leases)
{
    size_t n_old = leases->n_slots, n_new = n_old * 2;
    struct lease **heap = realloc(leases->heap, n_new * sizeof(*heap));
    if (!heap)
        return -ENOMEM;
    leases->heap = heap;
    struct lease **old = leases->slots, **slots = calloc(n_new, sizeof(*slots));
    if (!slots)
        return -ENOMEM;
    leases->slots = slots;
    leases->n_slots = n_new;
    for (size_t i = 0; i < n_old; i++)
        if (old[i])
            slots[find_slot(leases, &old[i]->addr)] = old[i];
    free(old);
    return 0;
}

int leases_insert(struct leases *leases, const struct ip_addr *addr, struct lease **ret)
{
    if (leases->count + 1 >= leases->n_slots / 2 && grow(leases))
        return -ENOMEM;
    struct lease *lease = leases->free;
    if (lease)
        leases->free = lease->next_free;
    else if (!(lease = calloc(1, sizeof(*lease))))
        return -ENOMEM;
    lease->addr = *addr;
    lease->expires_ns = 0;
    leases->slots[find_slot(leases, addr)] = lease;
    leases->count++;
    *ret = lease;
    return 0;
}

/* Empties a slot and moves those behind it forward that would not be found across the hole. */
static void clear_slot(struct leases *leases, size_t hole)
{
    size_t mask = leases->n_slots - 1;
    leases->slots[hole] = NULL;
    for (size_t at = (hole + 1) & mask; leases->slots[at]; at = (at + 1) & mask) {
        size_t from_home = (at - home(leases, &leases->slots[at]->addr)) & mask;
        if (from_home < ((at - hole) & mask))
            continue;
        leases->slots[hole] = leases->slots[at];
        leases->slots[at] = NULL;
        hole = at;
    }
}

void leases_remove(struct leases *leases, struct lease *lease)
{
    leases_hold(leases, lease);
    clear_slot(leases, find_slot(leases, &lease->addr));
    leases->count--;
    names_clear(&lease->names);
    lease->next_free = leases->free;
    leases->free = lease;
}

static void place(struct leases *leases, struct lease *lease, uint32_t at)
{
    leases->heap[at] = lease;
    lease->heap_at = at;
}

static void sift(struct leases *leases, struct lease *lease, uint32_t at)
{
    while (at > 1 && leases->heap[at / 2]->expires_ns > lease->expires_ns) {
        place(leases, leases->heap[at / 2], at);
        at /= 2;
    }
    for (uint32_t child; (child = at * 2) <= leases->n_heap; at = child) {
        if (child < leases->n_heap && leases->heap[child + 1]->expires_ns < leases->heap[child]->expires_ns)
            child++;
        if (leases->heap[child]->expires_ns >= lease->expires_ns)
            break;
        place(leases, leases->heap[child], at);
    }
    place(leases, lease, at);
}

void leases_hold(struct leases *leases, struct lease *lease)
{
    uint32_t at = lease->heap_at;
    if (!at)
        return;
    lease->heap_at = 0;
    struct lease *last = leases->heap[leases->n_heap--];
    if (last != lease)
        sift(leases, last, at);
}

void leases_release(struct leases *leases, struct lease *lease, uint64_t expires_ns)
{
    lease->expires_ns = expires_ns;
    leases->n_heap++;
    sift(leases, lease, leases->n_heap);
}

struct lease *leases_soonest(const struct leases *leases)
{
    return leases->n_heap ? leases->heap[1] : NULL;
}

struct lease *leases_next(const struct leases *leases, size_t *cursor)
{
    while (*cursor < leases->n_slots) {
        struct lease *lease = leases->slots[(*cursor)++];
        if (lease)
            return lease;
    }
    return NULL;
}
