#include "nft/way_expr.h"

#include "nft/expr_build.h"

#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <stddef.h>

void match_embedded_in(struct rule *rule, enum packet_end end, const struct ip_embedding *form, const char *set)
{
    size_t at = end == PACKET_SOURCE ? offsetof(struct ip6_hdr, ip6_src) : offsetof(struct ip6_hdr, ip6_dst);
    match_family(rule, AF_INET6);
    load_payload(rule, NFT_PAYLOAD_NETWORK_HEADER, at, form->prefix_size, NFT_REG_1);
    compare(rule, NFT_CMP_EQ, form->prefix, form->prefix_size);
    load_payload(rule, NFT_PAYLOAD_NETWORK_HEADER, at + form->at, ip_size(AF_INET), NFT_REG_1);
    expr_begin(rule, "lookup");
    put_text(rule, NFTNL_EXPR_LOOKUP_SET, set);
    put_u32(rule, NFTNL_EXPR_LOOKUP_SREG, NFT_REG_1);
}

void match_routed_by_sender(struct rule *rule, enum packet_route route)
{
    static const uint8_t types[PACKET_ROUTES] = {IPOPT_LSRR, IPOPT_SSRR, IPPROTO_ROUTING};
    const uint8_t present = 1;
    bool v6 = route == ROUTE_HEADER;
    match_family(rule, v6 ? AF_INET6 : AF_INET);
    expr_begin(rule, "exthdr");
    put_u32(rule, NFTNL_EXPR_EXTHDR_DREG, NFT_REG_1);
    put(rule, NFTNL_EXPR_EXTHDR_TYPE, &types[route], sizeof(types[route]));
    put_u32(rule, NFTNL_EXPR_EXTHDR_OFFSET, 0);
    put_u32(rule, NFTNL_EXPR_EXTHDR_LEN, 1);
    put_u32(rule, NFTNL_EXPR_EXTHDR_OP, v6 ? NFT_EXTHDR_OP_IPV6 : NFT_EXTHDR_OP_IPV4);
    put_u32(rule, NFTNL_EXPR_EXTHDR_FLAGS, NFT_EXTHDR_F_PRESENT);
    compare(rule, NFT_CMP_EQ, &present, sizeof(present));
}
