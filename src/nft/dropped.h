/* Learned addresses that were dropped: a moment later each is deleted once more, since a packet that was between
 * looking its address up and prolonging its lease may have put it back. */
#ifndef NFT_DROPPED_H
#define NFT_DROPPED_H

#include "base/buf.h"
#include "nft/batch.h"
#include "nft/leases.h"

/* Of those that lost no permission, this many between two looks are remembered: they come fast, and what is back by
 * chance ends by itself. Those that were revoked are remembered whatever their number. */
#define DROPPED_ENDED_MAX 4096

struct dropped {
    struct buf fresh, due; /* of struct ip_addr: dropped since the latest dropped_again_done(), and before */
};

void dropped_done(struct dropped *dropped);
/* When memory runs out it is not remembered. */
void dropped_add(struct dropped *dropped, const struct ip_addr *addr, bool revoked);
bool dropped_has(const struct dropped *dropped, const struct ip_addr *addr);
/* Deletes those that are due, unless they are among the leases again. Returns their number. */
size_t dropped_encode_again(const struct dropped *dropped, const struct leases *v4, const struct leases *v6,
                            struct batch *batch);
void dropped_again_done(struct dropped *dropped);

#endif
