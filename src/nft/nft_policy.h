/* Policies whose ranges are owned. */
#ifndef NFT_NFT_POLICY_H
#define NFT_NFT_POLICY_H

#include "nft/nft.h"

/* 0 or -ENOMEM. */
int nft_policy_copy(const struct nft_policy *policy, struct nft_policy *ret);
void nft_policy_done(struct nft_policy *policy);

#endif
