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
 * mind. Or a fragment: the kernel divides packets behind all rules and puts those together that come divided, but for a
 * raw socket with IP_NODEFRAG. */
void match_ipv4_options_or_fragment(struct rule *rule);
void match_ipv4_fragment(struct rule *rule);
/* IPv6 with a header of this type (RFC 8200 section 4): IPPROTO_ROUTING, IPPROTO_FRAGMENT. Searches the packet. */
void match_ipv6_header(struct rule *rule, uint8_t type);
/* What a multicast listener report says (RFC 3810 section 5.2, RFC 2710 section 3) is no more than that a group for
 * neighbour discovery is listened to (RFC 4291 section 2.7.1), ff02::1:ff00:0/104: the record that begins there in the
 * ICMPv6 message says something else, and the message is not over before it. Three bytes that must be 0 come before the
 * group in both versions. */
void match_other_group(struct rule *rule, size_t at);
/* It has more records than these. */
void match_more_records(struct rule *rule, uint16_t n);

#endif
