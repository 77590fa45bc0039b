/* Which open flows a policy takes permission from. */
#ifndef NFT_CUT_H
#define NFT_CUT_H

#include "nft/changes.h"
#include "nft/flows.h"
#include "nft/nft.h"

struct cut {
    const struct nft_settings *settings;
    struct changes *changes;
    const struct nft_policy *before, *now;
    uint64_t now_ns;
};

/* Whether a policy is no reason to end this flow: it is the sidecar's own, or as good. */
bool cut_spares(const struct nft_settings *settings, const struct flow *flow);
/* Whether this flow is to be ended. Those to an address that is denied or revoked are, and those that were allowed by
 * their address and are no longer. Flows that outlive a lease are not, nor are the sidecar's own. */
bool cut_wants(const struct cut *cut, const struct flow *flow);
/* Whether the policy `now` lets new flows to this address pass. */
bool cut_allows(const struct cut *cut, const struct ip_addr *peer);
/* Revokes a flow's peer, with the next transaction, so that a rule before "established" refuses what is sent to it, and
 * another the datagrams by which it would open the flow anew. 0 or -ENOMEM. */
int cut_refuse(struct cut *cut, const struct flow *flow);

#endif
