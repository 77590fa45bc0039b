/* How the rules see direct connections: those that the sandbox opens to addresses that no name led to, or that are
 * refused. Pure.
 *
 * `direct` and `denied` are where packets go that rules let through by their address or by default, or refuse. With
 * log_peers, packets that open a connection pass `peers_allowed` or `peers_denied` on their way: they are counted, and
 * the first to a destination, protocol and port goes to NFLOG and is remembered in a set, so that those of the next
 * minute do not. A limit bounds what is logged; what it holds back is counted and not remembered, so it can be logged
 * when it is tried again. So the sets cannot be filled either. */
#ifndef NFT_PEER_CHAINS_H
#define NFT_PEER_CHAINS_H

#include "nft/batch.h"
#include "nft/nft.h"

/* Groups of NFLOG. */
#define PEER_GROUP_ALLOWED 53
#define PEER_GROUP_DENIED 54
#define PEER_LOG_PER_S 100 /* each way */
#define PEER_LOG_BURST 200
#define PEER_MEMORY_S 60
/* Of each set; what the limit lets through in that time, and as much again that the kernel has not collected yet. */
#define PEER_MEMORY_MAX 16384
/* With IPv4 header options, or some IPv6 extension headers; peer_from_packet() finds the port behind them. */
#define PEER_PACKET_LEN 128

enum peer_counter { PEERS_ALLOWED, PEERS_DENIED, PEERS_SUPPRESSED, PEER_COUNTERS };
extern const char *const peer_counters[PEER_COUNTERS];
/* Counts what may open a flow, whatever becomes of it; see count_opened(). */
extern const char opened_counter[];
/* The stems of the sets of remembered peers, for set_name(). */
extern const char *const peer_sets[2];

/* The sets and counters; nothing without log_peers. */
void peers_declare(struct batch *batch, const struct nft_settings *settings);
/* In `egress`, before any policy decides: as long as the count stays, no flow of the sandbox is new. Only with
 * log_peers: the kernel may lack what rules count with. */
void count_opened(struct batch *batch, const struct nft_settings *settings);
/* A transaction that fails, with -EEXIST at its last message when the kernel has all that the rules need. */
void plan_peers_trial(struct batch *batch);
/* `direct`: lets the packet through. Uses dyn_allow_v4 and dyn_allow_v6. */
void chain_direct(struct batch *batch, const struct nft_settings *settings);
/* `denied`: sends the packet to the chain `refuse`. */
void chain_denied(struct batch *batch, const struct nft_settings *settings);

#endif
