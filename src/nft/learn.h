/* What an answer means for the lease of an address. */
#ifndef NFT_LEARN_H
#define NFT_LEARN_H

#include "base/learned.h"
#include "nft/changes.h"

/* Collects the changes: a lease is made or prolonged, and a revocation ends. 0 or -ENOMEM. */
int learn_address(struct changes *changes, const struct learned *learned, uint64_t now_ns);

#endif
