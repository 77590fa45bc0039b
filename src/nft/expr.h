/* Rules, expression by expression. A rule is one message: rule_begin(), any number of matches (all must hold), one
 * verdict, which writes the message and frees the rule. Nothing here can fail; see batch_end(). Matches of addresses
 * and ports name what they need (family, protocol) themselves, so that a rule means what it says in an inet table. */
#ifndef NFT_EXPR_H
#define NFT_EXPR_H

#include "base/ip.h"
#include "nft/batch.h"

#include <linux/netfilter/nf_tables.h>

struct rule {
    struct batch *batch;
    struct nftnl_rule *object; /* NULL when memory ran out, and so is the next */
    struct nftnl_expr *expr;   /* the newest, part of `object` */
};

/* Which address of a packet a match looks at. */
enum packet_end { PACKET_SOURCE, PACKET_DESTINATION };

struct rule rule_begin(struct batch *batch, const char *chain);
/* Ends a rule without a verdict: writes its message and frees it. */
void rule_append(struct rule *rule);
/* Deletes all rules of a chain. */
void rules_delete(struct batch *batch, const char *chain);

/* Matches. `op` is NFT_CMP_EQ or NFT_CMP_NEQ. */
void match_mark(struct rule *rule, enum nft_cmp_ops op, uint32_t mark);
/* The packet came in through loopback, through another device. */
void match_from_loopback(struct rule *rule);
void match_not_from_loopback(struct rule *rule);
/* The packet leaves through loopback, through another device. On output: before a redirect. */
void match_to_loopback(struct rule *rule);
void match_not_to_loopback(struct rule *rule);
/* A socket of a process sends this, not the kernel itself. */
void match_has_user(struct rule *rule);
/* Of the process when it made the sending socket. */
void match_group(struct rule *rule, uint32_t group);
void match_family(struct rule *rule, uint8_t family);
void match_protocol(struct rule *rule, uint8_t protocol);
/* `set_id`: an anonymous set of this transaction, see anonymous_set(). */
void match_protocol_in(struct rule *rule, uint32_t set_id);
void match_destination_port(struct rule *rule, uint16_t port);
void match_other_destination_port(struct rule *rule, uint16_t port);
void match_destination_port_in(struct rule *rule, uint32_t set_id);
/* What follows the IPv6 header itself. */
void match_next_header_in(struct rule *rule, uint32_t set_id);
void match_icmp_type_in(struct rule *rule, uint8_t family, uint32_t set_id);
void match_destination(struct rule *rule, const struct ip_addr *addr);
void match_destination_in(struct rule *rule, uint8_t family, const char *set);
void match_source_in(struct rule *rule, uint8_t family, const char *set);
/* Whether the address belongs to this host, as the routing table says: of all matches this takes longest. */
void match_local(struct rule *rule, enum packet_end end, enum nft_cmp_ops op);
/* Any of these NF_CT_STATE_BIT()s, any but this one. */
void match_ct_state(struct rule *rule, uint32_t states);
void match_ct_other_state(struct rule *rule, uint32_t state);
void match_ct_reply(struct rule *rule);
/* The destination of the connection was rewritten. */
void match_ct_redirected(struct rule *rule);
/* A TCP segment that opens a connection, which is SYN and none of ACK, RST and FIN (RFC 9293 section 3.5), or with
 * NFT_CMP_NEQ one that does not. */
void match_new_tcp(struct rule *rule, enum nft_cmp_ops op);
/* The connection is of this zone, in the direction that opened it at least; of another one. Neither is true of a packet
 * without a connection. */
void match_ct_zone(struct rule *rule, uint16_t zone);
void match_ct_other_zone(struct rule *rule, uint16_t zone);
/* The socket that is to receive the packet has IP_TRANSPARENT. */
void match_transparent_socket(struct rule *rule);

/* Verdicts. `chain` is for jump and goto only. */
void verdict(struct rule *rule, int32_t code, const char *chain);
void verdict_tcp_reset(struct rule *rule);
void verdict_prohibited(struct rule *rule);
/* No match: the element that the match before found in `set`, a timeout set, lasts `timeout_ms` from now. */
void prolong_found(struct rule *rule, const char *set, uint64_t timeout_ms);
/* No verdict: the element of the packet's destination in `set`, a timeout set, which the rule found there with
 * match_destination_in() as its last match, lasts `timeout_ms` from now. */
void rule_prolongs(struct rule *rule, const char *set, uint64_t timeout_ms);
/* No verdict: the connection that the packet opens is told apart from others with the same addresses and ports. */
void rule_sets_zone(struct rule *rule, uint16_t zone);
/* No verdict: the packet bears no mark from here on. */
void rule_clears_mark(struct rule *rule);
void verdict_redirect(struct rule *rule, uint16_t port);

#endif
