/* Chains against those who go around the others. They decide nothing about policy. */
#ifndef NFT_GUARDS_H
#define NFT_GUARDS_H

#include "nft/batch.h"
#include "nft/expr.h"
#include "nft/nft.h"

#define OWN_ZONE 1 /* of the sidecar's connections: any but 0, where everybody else is */

/* What some kernels lack: conntrack zones, the netdev egress hook, the key rtclassid; the expressions `socket` and
 * `reject`. */
enum { LACKS_ZONES = 1, LACKS_FRAMES = 2, LACKS_ROUTES = 4, LACKS_SOCKETS = 8, LACKS_REJECT = 16 };

/* A socket of the sidecar's own sends this. Both secrets in one match: a rule that showed whether the first of them is
 * right would let them be found one after the other. */
void match_own(struct rule *rule, const struct nft_settings *settings);
/* A rule that drops ICMP or ICMPv6 messages of these types when a process sends them, not the kernel by itself. */
void drop_icmp_of_processes(struct batch *batch, const char *chain, uint8_t family, const uint8_t *types, size_t n);
/* The first rules of the chain `loopback`, for packets that processes and the kernel send to this host, against those
 * with CAP_NET_RAW: a source of another host, which would be an upstream's answer or a router's redirect; an error that
 * no kernel found. And against those who send to an address of this host through a device, without any capability. */
void guard_loopback(struct batch *batch);
/* `forged`: what comes in through loopback was sent by the IP stack, so that guard_loopback() has seen it: frames that
 * a process sends into it have no route. `own_sockets`: and what others sent is not for the sidecar's own sockets,
 * where it would be believed. `lacks` is of LACKS_*. */
void chain_forged(struct batch *batch, bool own_sockets, unsigned lacks);
/* `leaving`: nobody behind the rules sees the sidecar's mark (0: there is none), who could sniff and use it. And unless
 * `audit`, what is sent to loopback's addresses stays on loopback: `egress` lets it pass as a matter of the sandbox
 * alone, but a socket that is bound to another device has it leave through that, and needs no capability for it. */
void chain_leaving(struct batch *batch, const struct nft_settings *settings);
/* `forward`: a sandbox routes for nobody. What is routed never meets the output chains, and with a frame sent into
 * loopback and forwarding switched on the application could have itself routed. */
void chain_forward(struct batch *batch);
/* `inbound`: what denied and revoked peers go on sending to sockets that cannot be ended, since they talk to others as
 * well. Uses the sets of addresses, and OWN_ZONE to let the sidecar's upstreams answer; without `zones` it is left out.
 * TCP is left to the resets of `egress`. And first packets from outside that no client sends, but the far end of a flow
 * that the sandbox opened: with an entry in conntrack that began with them, the sandbox's packets would be replies to a
 * connection from outside. Uses the sets of older.h. */
void chain_inbound(struct batch *batch, const struct nft_settings *settings, bool zones);
/* The same for a closed sandbox, whose sets and older flows nobody knows: no datagram opens anything. */
void chain_inbound_closed(struct batch *batch);

#endif
