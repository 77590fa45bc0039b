/* Matches, as those of expr.h, of packets that go elsewhere than their address says. */
#ifndef NFT_WAY_EXPR_H
#define NFT_WAY_EXPR_H

#include "nft/expr.h"

/* The address is of 127.0.0.0/8 or ::1, or with NFT_CMP_NEQ another one of the family. */
void match_loopback(struct rule *rule, enum packet_end end, enum nft_cmp_ops op, uint8_t family);
/* The source belongs to no device of this host. Loopback's addresses are told without the routing table. */
void match_foreign_source(struct rule *rule, uint8_t family);
/* An IPv6 address of this form that leads to an IPv4 address in `set`. */
void match_embedded_in(struct rule *rule, enum packet_end end, const struct ip_embedding *form, const char *set);
/* IPv4 with options (RFC 791 section 3.1), a source route among them maybe: a header of another length than the bare
 * one's. The kernel's own search for an option finds none in a list that it takes for malformed; the next hop may not
 * mind. */
void match_ipv4_options(struct rule *rule);
/* IPv6 with a routing header (RFC 8200 section 4.4). */
void match_routing_header(struct rule *rule);

#endif
