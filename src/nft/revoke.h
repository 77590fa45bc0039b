/* What a new policy means for the addresses that were learned under the old one. */
#ifndef NFT_REVOKE_H
#define NFT_REVOKE_H

#include "nft/changes.h"
#include "nft/conn.h"
#include "nft/nft.h"

/* Collects the changes: a learned address keeps its lease as far as names carry it that are still allowed; without
 * such a name it goes, and is refused for a while, so that open flows end; an address that was revoked earlier and
 * is allowed again is refused no longer and gets back what is left of its lease. The kernel is asked whether
 * connections prolonged a lease that loses some of its names. 0 or -ENOMEM. */
int revoke_denied(struct conn *conn, struct changes *changes, const struct nft_policy *policy, names_allowed *allowed,
                  void *ctx, uint64_t now_ns);

#endif
