/* Policies whose ranges are owned. */
#ifndef NFT_NFT_POLICY_H
#define NFT_NFT_POLICY_H

#include "nft/nft.h"

/* 0 or -ENOMEM. */
int nft_policy_copy(const struct nft_policy *policy, struct nft_policy *ret);
void nft_policy_done(struct nft_policy *policy);

/* The sets that hold a policy's addresses, strongest first: `deny` of `deny_v4` and `deny_v6`, and what is in them. */
#define NFT_POLICY_SETS 4
const char *nft_policy_stem(size_t i);
const struct ip_ranges *nft_policy_ranges(const struct nft_policy *policy, size_t i);
void nft_policy_set_ranges(struct nft_policy *policy, size_t i, const struct ip_ranges *ranges);
/* Whether a range denies this address, whatever names lead to it. */
bool nft_policy_denies(const struct nft_policy *policy, const struct ip_addr *addr);
/* Whether the addresses of this set are let through, else refused. */
bool nft_policy_allows(size_t i);

#endif
