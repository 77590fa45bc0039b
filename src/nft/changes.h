/* What one transaction does to the kernel's timeout sets and, once the kernel took it, to their mirrors.
 *
 * Collect changes, encode them, send; then either commit or roll back. In between the leases concerned are held. */
#ifndef NFT_CHANGES_H
#define NFT_CHANGES_H

#include "nft/batch.h"
#include "nft/leases.h"

#define LEASE_MAX_S 360
/* Longer than what keeps a silent TCP connection alive in most programs; every packet on it meets a reset. */
#define REVOKED_S 600

enum timed_set { ALLOW_V4, ALLOW_V6, REVOKED_V4, REVOKED_V6, N_TIMED_SETS };

struct changes;

/* `max`: leases per set. */
int changes_new(uint32_t max, uint64_t seed, struct changes **ret);
void changes_free(struct changes *changes);
const char *timed_set_name(enum timed_set set);
/* The longest that an address is in this set unless it is put there anew. */
uint64_t timed_set_longest_ns(enum timed_set set);
uint32_t changes_max(const struct changes *changes);
struct leases *changes_leases(const struct changes *changes, enum timed_set set);
/* Learned addresses that made room for others so far. */
uint64_t changes_evicted(const struct changes *changes);
/* How many leases the transaction is about. */
size_t changes_count(const struct changes *changes);

/* Whether it revokes any. */
bool changes_revoke(const struct changes *changes);

/* Puts an address into a set: `*ret` is its new lease, without names. It must have none. 0 or -ENOMEM. */
int changes_add(struct changes *changes, enum timed_set set, const struct ip_addr *addr, uint64_t expires_ns,
                struct lease **ret);
/* Writes a lease anew, with its names as the comment: they are to be changed after this call, so that a roll-back
 * brings back those from before. One that is part of the transaction already is prolonged, when `expires_ns` is later.
 * 0 or -ENOMEM. */
int changes_renew(struct changes *changes, enum timed_set set, struct lease *lease, uint64_t expires_ns);
/* Collects, from `*cursor` (at first 0) on, up to `max` leases of a set that the transaction writes anew. Returns how
 * many; 0 at the end. */
size_t changes_renewals(const struct changes *changes, enum timed_set set, size_t *cursor, struct lease **ret,
                        size_t max);
/* Takes a lease out that is not part of the transaction yet. 0 or -ENOMEM. */
int changes_drop(struct changes *changes, enum timed_set set, struct lease *lease);
/* The same for one that lost no permission. */
int changes_end(struct changes *changes, enum timed_set set, struct lease *lease);
/* Drops the leases that end first from sets that would be too full. 0, -ENOMEM, or -ENOSPC when the additions of this
 * transaction alone are too many. */
int changes_make_room(struct changes *changes);

void changes_encode(const struct changes *changes, struct batch *batch, uint64_t now_ns);
/* Adds every lease to sets that are new and empty. */
void changes_encode_all(const struct changes *changes, struct batch *batch, uint64_t now_ns);

/* Deletes learned addresses once more that were dropped before the last changes_again_done() and not added since
 * (dropped.h). Returns their number. */
size_t changes_encode_again(const struct changes *changes, struct batch *batch);
void changes_again_done(struct changes *changes);
/* Whether this learned address was dropped a moment ago, and such a packet may have put it back. */
bool changes_were_dropped(const struct changes *changes, const struct ip_addr *addr);

void changes_commit(struct changes *changes);
/* Leases and names are as they were, but for marks and what the kernel said of leases that connections prolonged. */
void changes_roll_back(struct changes *changes);

static inline enum timed_set allow_set(uint8_t family)
{
    return family == AF_INET ? ALLOW_V4 : ALLOW_V6;
}

static inline enum timed_set revoked_set(uint8_t family)
{
    return family == AF_INET ? REVOKED_V4 : REVOKED_V6;
}

#endif
