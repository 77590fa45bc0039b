#include "nft/way_expr.h"

#include "nft/expr_build.h"

#include <arpa/inet.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <stddef.h>

static size_t offset_of(enum packet_end end, uint8_t family)
{
    if (family == AF_INET)
        return end == PACKET_SOURCE ? offsetof(struct iphdr, saddr) : offsetof(struct iphdr, daddr);
    return end == PACKET_SOURCE ? offsetof(struct ip6_hdr, ip6_src) : offsetof(struct ip6_hdr, ip6_dst);
}

void match_loopback(struct rule *rule, enum packet_end end, enum nft_cmp_ops op, uint8_t family)
{
    static const uint8_t v4[] = {127}, v6[16] = {[15] = 1};
    size_t size = family == AF_INET ? sizeof(v4) : sizeof(v6);
    match_family(rule, family);
    load_payload(rule, NFT_PAYLOAD_NETWORK_HEADER, offset_of(end, family), size, NFT_REG_1);
    compare(rule, op, family == AF_INET ? v4 : v6, size);
}

void match_foreign_source(struct rule *rule, uint8_t family)
{
    match_loopback(rule, PACKET_SOURCE, NFT_CMP_NEQ, family);
    match_local(rule, PACKET_SOURCE, NFT_CMP_NEQ);
}

void match_embedded_in(struct rule *rule, enum packet_end end, const struct ip_embedding *form, const char *set)
{
    size_t at = offset_of(end, AF_INET6);
    match_family(rule, AF_INET6);
    load_payload(rule, NFT_PAYLOAD_NETWORK_HEADER, at, form->prefix_size, NFT_REG_1);
    compare(rule, NFT_CMP_EQ, form->prefix, form->prefix_size);
    load_payload(rule, NFT_PAYLOAD_NETWORK_HEADER, at + form->at, ip_size(AF_INET), NFT_REG_1);
    expr_begin(rule, "lookup");
    put_text(rule, NFTNL_EXPR_LOOKUP_SET, set);
    put_u32(rule, NFTNL_EXPR_LOOKUP_SREG, NFT_REG_1);
}

/* The first eight bytes of an IPv4 header, masked, are not these. */
static void match_other_ipv4(struct rule *rule, const uint8_t mask[8], const uint8_t bytes[8])
{
    static const uint8_t none[8] = {0};
    match_family(rule, AF_INET);
    load_payload(rule, NFT_PAYLOAD_NETWORK_HEADER, 0, 8, NFT_REG_1);
    expr_begin(rule, "bitwise");
    put_u32(rule, NFTNL_EXPR_BITWISE_SREG, NFT_REG_1);
    put_u32(rule, NFTNL_EXPR_BITWISE_DREG, NFT_REG_1);
    put_u32(rule, NFTNL_EXPR_BITWISE_LEN, 8);
    put(rule, NFTNL_EXPR_BITWISE_MASK, mask, 8);
    put(rule, NFTNL_EXPR_BITWISE_XOR, none, sizeof(none));
    compare(rule, NFT_CMP_NEQ, bytes, 8);
}

void match_ipv4_options_or_fragment(struct rule *rule)
{
    /* Length of the header; flag for more fragments, and offset. */
    static const uint8_t mask[8] = {0x0f, [6] = 0x3f, [7] = 0xff}, bare[8] = {sizeof(struct iphdr) / 4};
    match_other_ipv4(rule, mask, bare);
}

void match_ipv4_fragment(struct rule *rule)
{
    static const uint8_t mask[8] = {[6] = 0x3f, [7] = 0xff}, whole[8] = {0};
    match_other_ipv4(rule, mask, whole);
}

void match_ipv6_header(struct rule *rule, uint8_t type)
{
    const uint8_t present = 1;
    match_family(rule, AF_INET6);
    expr_begin(rule, "exthdr");
    put_u32(rule, NFTNL_EXPR_EXTHDR_DREG, NFT_REG_1);
    put(rule, NFTNL_EXPR_EXTHDR_TYPE, &type, sizeof(type));
    put_u32(rule, NFTNL_EXPR_EXTHDR_OFFSET, 0);
    put_u32(rule, NFTNL_EXPR_EXTHDR_LEN, 1);
    put_u32(rule, NFTNL_EXPR_EXTHDR_OP, NFT_EXTHDR_OP_IPV6);
    put_u32(rule, NFTNL_EXPR_EXTHDR_FLAGS, NFT_EXTHDR_F_PRESENT);
    compare(rule, NFT_CMP_EQ, &present, sizeof(present));
}

void match_other_group(struct rule *rule, size_t at)
{
    static const uint8_t solicited[16] = {0, 0, 0, 0xff, 0x02, [14] = 0x01, [15] = 0xff};
    load_payload(rule, NFT_PAYLOAD_TRANSPORT_HEADER, at, sizeof(solicited), NFT_REG_1);
    compare(rule, NFT_CMP_NEQ, solicited, sizeof(solicited));
}

void match_more_records(struct rule *rule, uint16_t n)
{
    uint16_t wire = htons(n);
    load_payload(rule, NFT_PAYLOAD_TRANSPORT_HEADER, 6, sizeof(wire), NFT_REG_1);
    compare(rule, NFT_CMP_GT, &wire, sizeof(wire));
}
