/* Parts of rules for peer_chains.c: what expr.h has none of. The same manner: matches, then what ends the rule. */
#ifndef NFT_PEER_EXPR_H
#define NFT_PEER_EXPR_H

#include "nft/expr.h"

/* The packet's destination, protocol and port are in `set`, a set_of_peers(). Only for packets with a conntrack entry.
 */
void match_peer_in(struct rule *rule, uint8_t family, const char *set);
/* The packet is the first of its connection: not one of a datagram flow that nobody answers, either. */
void match_first_packet(struct rule *rule);
/* More than `per_s` packets a second came to this rule, after `burst` of them. */
void match_beyond_rate(struct rule *rule, uint64_t per_s, uint32_t burst);
/* No match: the counter of this name counts the packet. */
void rule_counts(struct rule *rule, const char *counter);

/* No verdict: the packet's peer is in `set` for `timeout_ms`, unless the set is full. */
void rule_remembers_peer(struct rule *rule, uint8_t family, const char *set, uint64_t timeout_ms);
/* No verdict: a message with the packet's first `len` bytes goes to the listener of a group of NFLOG, at once. */
void rule_logs(struct rule *rule, uint16_t group, uint32_t len);

#endif
