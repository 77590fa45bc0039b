/* What the table consists of, by the numbers that the kernel gave its parts: nothing in a table is ever changed but its
 * flags, a chain's policy and the elements of sets; what is put in its place has another number. So two snapshots tell
 * what somebody did to it in between, for the price of four short listings. */
#ifndef NFT_SNAPSHOT_H
#define NFT_SNAPSHOT_H

#include "base/buf.h"
#include "nft/conn.h"

/* Appends the tables (inet's and netdev's), their chains, rules and named sets to `ret`, and the elements of those sets
 * that have no module of their own to compare them (`exempt` and `upstream`). Empty when there is no table. 0 or
 * -errno; -EINTR: it changed meanwhile. */
int snapshot_take(struct conn *conn, struct buf *ret, struct why *why);
/* The first and gravest thing that was done between two snapshots, as "chain egress deleted", in `ret`. False when they
 * are equal. */
bool snapshot_differs(const struct buf *before, const struct buf *after, struct why *ret);

#endif
