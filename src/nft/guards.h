/* Chains against those who go around the others. They decide nothing about policy. */
#ifndef NFT_GUARDS_H
#define NFT_GUARDS_H

#include "nft/batch.h"
#include "nft/nft.h"

#define OWN_ZONE 1 /* of the sidecar's connections: any but 0, where everybody else is */

/* `forged`: what comes in through loopback has a source of this host. With CAP_NET_RAW a packet can be sent to oneself
 * that claims to be an upstream's answer. */
void chain_forged(struct batch *batch);
/* Drops packets whose source is not of this host; `from_loopback`: those that came in through it. For chains of packets
 * to this host, on which the kernel's own resets for refused connections have the refused address; they are related. */
void drop_forged(struct batch *batch, const char *chain, bool from_loopback);
/* `leaving`: nobody behind the rules sees the sidecar's mark (0: there is none), who could sniff and use it. And unless
 * `audit`, what is sent to loopback's addresses stays on loopback: `egress` lets it pass as a matter of the sandbox
 * alone, but a socket that is bound to another device has it leave through that, and needs no capability for it. */
void chain_leaving(struct batch *batch, uint32_t mark, bool audit);
/* `forward`: a sandbox routes for nobody. What is routed never meets the output chains, and with a frame sent into
 * loopback and forwarding switched on the application could have itself routed. */
void chain_forward(struct batch *batch);
/* `inbound`: what denied and revoked peers go on sending to sockets that cannot be ended, since they talk to others as
 * well. Uses the sets of addresses, and OWN_ZONE to let the sidecar's upstreams answer. TCP is left to the resets of
 * `egress`, by which both ends learn that it is over. */
void chain_inbound(struct batch *batch, const struct nft_settings *settings);

#endif
