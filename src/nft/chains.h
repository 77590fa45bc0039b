/* The chains of the table and their rules. Pure: they become messages of a transaction. */
#ifndef NFT_CHAINS_H
#define NFT_CHAINS_H

#include "nft/batch.h"
#include "nft/nft.h"

/* `egress` and the chains it needs, for a policy; uses all sets. `gated`: nothing gets as far as the sets of ranges
 * until chain_open_gate(). */
void chain_egress(struct batch *batch, const struct nft_settings *settings, bool default_allow, bool gated);
void chain_open_gate(struct batch *batch);
/* What becomes of packets that no rule knows. Replaces what was decided before; an error when `egress` is not there. */
void chain_set_default(struct batch *batch, const struct nft_settings *settings, bool default_allow);
/* The policy of `egress`: NF_ACCEPT or NF_DROP. No packet gets so far, but it holds while a table is being put in
 * place, and says whether one that is there refuses. */
uint32_t chain_policy(const struct nft_settings *settings, bool default_allow);
/* `unredirected`, for dns mode: what was not redirected although it is or may be a question. Everything else passes.
 * Uses the sets exempt_v4 and _v6 when there are exempt servers. */
void chain_unredirected(struct batch *batch, const struct nft_settings *settings);
/* `egress` of a closed sandbox: loopback and replies of connections from outside, nothing else. Uses no named set. */
void chain_egress_closed(struct batch *batch, bool drops);
/* The same without replies, and without anything that a kernel may have as a module. */
void chain_egress_shut(struct batch *batch);

#endif
