#include "nft/peer_expr.h"

#include "nft/expr_build.h"

#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_conntrack_tuple_common.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <stddef.h>

/* The registers in units of four bytes, one after the other as a key has its parts. For ICMP the kernel keeps type and
 * code where other protocols have the port, for most others 0. */
static void load_peer(struct rule *rule, uint8_t family)
{
    uint32_t size = (uint32_t)ip_size(family), words = size / 4;
    uint8_t direction = IP_CT_DIR_ORIGINAL;
    match_family(rule, family);
    load_payload(rule, NFT_PAYLOAD_NETWORK_HEADER,
                 family == AF_INET ? offsetof(struct iphdr, daddr) : offsetof(struct ip6_hdr, ip6_dst), size,
                 NFT_REG32_00);
    load_meta(rule, NFT_META_L4PROTO, NFT_REG32_00 + words);
    load_ct(rule, NFT_CT_PROTO_DST, NFT_REG32_00 + words + 1);
    put(rule, NFTNL_EXPR_CT_DIR, &direction, sizeof(direction));
}

void match_peer_in(struct rule *rule, uint8_t family, const char *set)
{
    load_peer(rule, family);
    expr_begin(rule, "lookup");
    put_text(rule, NFTNL_EXPR_LOOKUP_SET, set);
    put_u32(rule, NFTNL_EXPR_LOOKUP_SREG, NFT_REG32_00);
}

/* The kernel confirms an entry when the packet that made it is through all rules. */
void match_first_packet(struct rule *rule)
{
    uint32_t confirmed = IPS_CONFIRMED, none = 0;
    load_ct(rule, NFT_CT_STATUS, NFT_REG_1);
    expr_begin(rule, "bitwise");
    put_u32(rule, NFTNL_EXPR_BITWISE_SREG, NFT_REG_1);
    put_u32(rule, NFTNL_EXPR_BITWISE_DREG, NFT_REG_1);
    put_u32(rule, NFTNL_EXPR_BITWISE_LEN, sizeof(confirmed));
    put(rule, NFTNL_EXPR_BITWISE_MASK, &confirmed, sizeof(confirmed));
    put(rule, NFTNL_EXPR_BITWISE_XOR, &none, sizeof(none));
    compare(rule, NFT_CMP_EQ, &none, sizeof(none));
}

void match_beyond_rate(struct rule *rule, uint64_t per_s, uint32_t burst)
{
    uint64_t unit_s = 1;
    expr_begin(rule, "limit");
    put(rule, NFTNL_EXPR_LIMIT_RATE, &per_s, sizeof(per_s));
    put(rule, NFTNL_EXPR_LIMIT_UNIT, &unit_s, sizeof(unit_s));
    put_u32(rule, NFTNL_EXPR_LIMIT_BURST, burst);
    put_u32(rule, NFTNL_EXPR_LIMIT_TYPE, NFT_LIMIT_PKTS);
    put_u32(rule, NFTNL_EXPR_LIMIT_FLAGS, NFT_LIMIT_F_INV);
}

void rule_counts(struct rule *rule, const char *counter)
{
    expr_begin(rule, "objref");
    put_u32(rule, NFTNL_EXPR_OBJREF_IMM_TYPE, NFT_OBJECT_COUNTER);
    put_text(rule, NFTNL_EXPR_OBJREF_IMM_NAME, counter);
}

void rule_remembers_peer(struct rule *rule, uint8_t family, const char *set, uint64_t timeout_ms)
{
    load_peer(rule, family);
    expr_begin(rule, "dynset");
    put_text(rule, NFTNL_EXPR_DYNSET_SET_NAME, set);
    put_u32(rule, NFTNL_EXPR_DYNSET_OP, NFT_DYNSET_OP_ADD);
    put_u32(rule, NFTNL_EXPR_DYNSET_SREG_KEY, NFT_REG32_00);
    put(rule, NFTNL_EXPR_DYNSET_TIMEOUT, &timeout_ms, sizeof(timeout_ms));
    rule_append(rule);
}

void rule_logs(struct rule *rule, uint16_t group, uint32_t len)
{
    uint16_t at_once = 1;
    expr_begin(rule, "log");
    put(rule, NFTNL_EXPR_LOG_GROUP, &group, sizeof(group));
    put(rule, NFTNL_EXPR_LOG_QTHRESHOLD, &at_once, sizeof(at_once));
    put_u32(rule, NFTNL_EXPR_LOG_SNAPLEN, len);
    rule_append(rule);
}
