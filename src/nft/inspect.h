/* Questions about learned addresses that change nothing. */
#ifndef NFT_INSPECT_H
#define NFT_INSPECT_H

#include "nft/changes.h"
#include "nft/flows.h"
#include "nft/nft.h"

/* What is known of an address. */
void inspect_lease(const struct changes *changes, const struct ip_addr *addr, uint64_t now_ns, struct lease_info *ret);
/* Reports the first `max` addresses that are learned or revoked, in no order, and returns how many there are. */
size_t inspect_leases(const struct changes *changes, size_t max,
                      void (*report)(void *ctx, const struct lease_info *lease), void *ctx, uint64_t now_ns);
/* Reports every learned address that `old` lets through and `new` would not. */
void inspect_revocation(const struct changes *changes, const struct nft_policy *old, const struct nft_policy *new,
                        names_allowed *allowed, void (*report)(void *ctx, const struct lease_info *lease), void *ctx,
                        uint64_t now_ns);

/* What a flow is judged by. */
struct inspection {
    const struct nft_settings *settings;
    const struct changes *changes;
    const struct nft_policy *old, *new;
    names_allowed *allowed;
    void *ctx; /* of `allowed` */
    uint64_t now_ns;
};

/* Whether this flow passes with `old` and would be ended with `new`. */
bool inspect_flow(const struct inspection *inspection, const struct flow *flow);

#endif
