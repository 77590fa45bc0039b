/* Matches, as those of expr.h, of packets that go elsewhere than their address says. */
#ifndef NFT_WAY_EXPR_H
#define NFT_WAY_EXPR_H

#include "nft/expr.h"

/* An IPv6 address of this form that leads to an IPv4 address in `set`. */
void match_embedded_in(struct rule *rule, enum packet_end end, const struct ip_embedding *form, const char *set);
/* The packet says which way it is to go: with a source route (RFC 791 section 3.1), loose or strict, or with a routing
 * header (RFC 8200 section 4.4). */
enum packet_route { ROUTE_LOOSE, ROUTE_STRICT, ROUTE_HEADER, PACKET_ROUTES };
void match_routed_by_sender(struct rule *rule, enum packet_route route);

#endif
