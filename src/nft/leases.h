/* The mirror of one of the kernel's timeout sets: which addresses are in it, until when, and which names led to them.
 * A hash by address and a heap by expiry. Memory of removed leases is used again, so nothing is allocated in the steady
 * state. No clock and no I/O of its own. */
#ifndef NFT_LEASES_H
#define NFT_LEASES_H

#include "base/ip.h"
#include "nft/names.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct lease {
    struct ip_addr addr;
    uint32_t heap_at;    /* place in the heap; 0 while held */
    uint32_t change;     /* for whoever holds it, or walks them all */
    uint64_t expires_ns; /* CLOCK_MONOTONIC; the kernel's element goes then or, prolonged by connections, later */
    struct names names;
    struct lease *next_free;
};

struct leases;

/* `seed` makes collisions unpredictable to those who choose the addresses. 0 or -ENOMEM. */
int leases_new(uint64_t seed, struct leases **ret);
void leases_free(struct leases *leases);
size_t leases_count(const struct leases *leases);
struct lease *leases_find(const struct leases *leases, const struct ip_addr *addr);
/* Makes the lease of an address that has none; it is held, has no names and ended long ago. 0 or -ENOMEM. */
int leases_insert(struct leases *leases, const struct ip_addr *addr, struct lease **ret);
void leases_remove(struct leases *leases, struct lease *lease);
/* A held lease keeps its address and does not count among those that expire. */
void leases_hold(struct leases *leases, struct lease *lease);
void leases_release(struct leases *leases, struct lease *lease, uint64_t expires_ns);
static inline bool lease_is_held(const struct lease *lease)
{
    return lease->heap_at == 0;
}
/* Of those not held, the one that expires first; NULL when there is none. */
struct lease *leases_soonest(const struct leases *leases);
/* Walks all leases; start with `*cursor` = 0, NULL at the end. Holding and releasing does not disturb the walk,
 * inserting and removing does. */
struct lease *leases_next(const struct leases *leases, size_t *cursor);

#endif
