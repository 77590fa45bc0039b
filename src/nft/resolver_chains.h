/* Rules for resolvers: whose questions go where, and whom no allow reaches. Pure: they become messages of a
 * transaction. */
#ifndef NFT_RESOLVER_CHAINS_H
#define NFT_RESOLVER_CHAINS_H

#include "nft/expr.h"
#include "nft/guards.h"
#include "nft/nft.h"

/* A rule for packets to this TCP or UDP port. */
struct rule rule_to_port(struct batch *batch, const char *chain, uint16_t port);
bool resolver_is_exempt(const struct nft_settings *settings, const struct ip_addr *addr);
/* DNS to exempt servers; no rule when there are none. */
void accept_exempt_dns(struct batch *batch, const char *chain, const struct nft_settings *settings);
/* `own`: keeps the sidecar's connections in a conntrack zone of their own. -EOPNOTSUPP by the kernel without
 * CONFIG_NF_CONNTRACK_ZONES. */
void chain_own(struct batch *batch, const struct nft_settings *settings);
/* `dns`: sends port 53 to the sidecar. Uses the sets exempt_v4 and exempt_v6 when there are exempt servers. */
void chain_dns(struct batch *batch, const struct nft_settings *settings);
/* Parts of `egress`. DNS: the sidecar's own, that to exempt servers, and nothing else, whatever an allow says. */
void egress_resolvers(struct batch *batch, const struct nft_settings *settings);
/* DNS over HTTPS; uses the sets doh_block_v4 and _v6 when there is a list. */
void egress_doh(struct batch *batch, const struct nft_settings *settings);

#endif
