/* What an answer means for the lease of an address. */
#ifndef NFT_LEARN_H
#define NFT_LEARN_H

#include "base/learned.h"
#include "nft/changes.h"
#include "nft/nft.h"

/* Until when a learned address is let through by the mirror's reckoning; 0: it is not, or not learned. */
uint64_t learned_until(const struct changes *changes, const struct ip_addr *addr);
/* Collects the changes: a lease is made or prolonged, and a revocation ends unless the policy denies the address
 * itself. 0 or -ENOMEM. */
int learn_address(struct changes *changes, const struct nft_policy *policy, const struct learned *learned,
                  uint64_t now_ns);

#endif
