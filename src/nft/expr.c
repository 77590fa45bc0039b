#include "nft/expr.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_conntrack_tuple_common.h>
#include <linux/rtnetlink.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <stddef.h>
#include <string.h>

/* An expression that is being written. */
struct expr {
    struct nlattr *element, *data;
};

struct rule rule_begin(struct batch *batch, const char *chain)
{
    struct rule rule = {.batch = batch};
    rule.nlh = batch_message(batch, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND);
    mnl_attr_put_strz(rule.nlh, NFTA_RULE_CHAIN, chain);
    rule.expressions = mnl_attr_nest_start(rule.nlh, NFTA_RULE_EXPRESSIONS);
    return rule;
}

static void rule_end(struct rule *rule)
{
    mnl_attr_nest_end(rule->nlh, rule->expressions);
}

static struct expr expr_begin(struct rule *rule, const char *kind)
{
    struct expr expr;
    expr.element = mnl_attr_nest_start(rule->nlh, NFTA_LIST_ELEM);
    mnl_attr_put_strz(rule->nlh, NFTA_EXPR_NAME, kind);
    expr.data = mnl_attr_nest_start(rule->nlh, NFTA_EXPR_DATA);
    return expr;
}

static void expr_end(struct rule *rule, struct expr expr)
{
    mnl_attr_nest_end(rule->nlh, expr.data);
    mnl_attr_nest_end(rule->nlh, expr.element);
}

static void put_u32(struct rule *rule, uint16_t type, uint32_t value)
{
    mnl_attr_put_u32(rule->nlh, type, htonl(value));
}

static void put_data(struct rule *rule, uint16_t type, const void *data, size_t size)
{
    struct nlattr *nest = mnl_attr_nest_start(rule->nlh, type);
    mnl_attr_put(rule->nlh, NFTA_DATA_VALUE, size, data);
    mnl_attr_nest_end(rule->nlh, nest);
}

/* Everything goes through one register, which holds 16 bytes: load, then compare or look up. */

static void load_meta(struct rule *rule, enum nft_meta_keys key)
{
    struct expr expr = expr_begin(rule, "meta");
    put_u32(rule, NFTA_META_KEY, key);
    put_u32(rule, NFTA_META_DREG, NFT_REG_1);
    expr_end(rule, expr);
}

static void load_payload(struct rule *rule, enum nft_payload_bases base, size_t offset, size_t size)
{
    struct expr expr = expr_begin(rule, "payload");
    put_u32(rule, NFTA_PAYLOAD_DREG, NFT_REG_1);
    put_u32(rule, NFTA_PAYLOAD_BASE, base);
    put_u32(rule, NFTA_PAYLOAD_OFFSET, (uint32_t)offset);
    put_u32(rule, NFTA_PAYLOAD_LEN, (uint32_t)size);
    expr_end(rule, expr);
}

static void load_ct(struct rule *rule, enum nft_ct_keys key)
{
    struct expr expr = expr_begin(rule, "ct");
    put_u32(rule, NFTA_CT_KEY, key);
    put_u32(rule, NFTA_CT_DREG, NFT_REG_1);
    expr_end(rule, expr);
}

static void compare(struct rule *rule, enum nft_cmp_ops op, const void *data, size_t size)
{
    struct expr expr = expr_begin(rule, "cmp");
    put_u32(rule, NFTA_CMP_SREG, NFT_REG_1);
    put_u32(rule, NFTA_CMP_OP, op);
    put_data(rule, NFTA_CMP_DATA, data, size);
    expr_end(rule, expr);
}

/* `set_id` finds an anonymous set, which has its name from the kernel only after the transaction. */
static void look_up(struct rule *rule, const char *set, uint32_t set_id)
{
    struct expr expr = expr_begin(rule, "lookup");
    mnl_attr_put_strz(rule->nlh, NFTA_LOOKUP_SET, set);
    put_u32(rule, NFTA_LOOKUP_SREG, NFT_REG_1);
    if (set_id)
        put_u32(rule, NFTA_LOOKUP_SET_ID, set_id);
    expr_end(rule, expr);
}

static void look_up_anonymous(struct rule *rule, uint32_t set_id)
{
    look_up(rule, "__set%d", set_id);
}

void match_mark(struct rule *rule, enum nft_cmp_ops op, uint32_t mark)
{
    load_meta(rule, NFT_META_MARK);
    compare(rule, op, &mark, sizeof(mark));
}

void match_has_user(struct rule *rule)
{
    uint32_t lowest = 0;
    load_meta(rule, NFT_META_SKUID); /* ends the rule for packets without a user's socket */
    compare(rule, NFT_CMP_GTE, &lowest, sizeof(lowest));
}

void match_family(struct rule *rule, uint8_t family)
{
    uint8_t protocol = family == AF_INET ? NFPROTO_IPV4 : NFPROTO_IPV6;
    load_meta(rule, NFT_META_NFPROTO);
    compare(rule, NFT_CMP_EQ, &protocol, sizeof(protocol));
}

void match_protocol(struct rule *rule, uint8_t protocol)
{
    load_meta(rule, NFT_META_L4PROTO);
    compare(rule, NFT_CMP_EQ, &protocol, sizeof(protocol));
}

void match_protocol_in(struct rule *rule, uint32_t set_id)
{
    load_meta(rule, NFT_META_L4PROTO);
    look_up_anonymous(rule, set_id);
}

/* The same place in TCP and UDP (RFC 9293 section 3.1, RFC 768). */
static void load_destination_port(struct rule *rule)
{
    load_payload(rule, NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2);
}

void match_destination_port(struct rule *rule, uint16_t port)
{
    uint16_t wire = htons(port);
    load_destination_port(rule);
    compare(rule, NFT_CMP_EQ, &wire, sizeof(wire));
}

void match_destination_port_in(struct rule *rule, uint32_t set_id)
{
    load_destination_port(rule);
    look_up_anonymous(rule, set_id);
}

void match_icmpv6_type_in(struct rule *rule, uint32_t set_id)
{
    match_family(rule, AF_INET6);
    match_protocol(rule, IPPROTO_ICMPV6);
    load_payload(rule, NFT_PAYLOAD_TRANSPORT_HEADER, 0, 1);
    look_up_anonymous(rule, set_id);
}

static void load_destination(struct rule *rule, uint8_t family)
{
    match_family(rule, family);
    load_payload(rule, NFT_PAYLOAD_NETWORK_HEADER,
                 family == AF_INET ? offsetof(struct iphdr, daddr) : offsetof(struct ip6_hdr, ip6_dst),
                 ip_size(family));
}

void match_destination(struct rule *rule, const struct ip_addr *addr)
{
    load_destination(rule, addr->family);
    compare(rule, NFT_CMP_EQ, addr->bytes, ip_size(addr->family));
}

void match_destination_in(struct rule *rule, uint8_t family, const char *set)
{
    load_destination(rule, family);
    look_up(rule, set, 0);
}

void match_local(struct rule *rule, enum packet_end end, enum nft_cmp_ops op)
{
    uint32_t local = RTN_LOCAL;
    struct expr expr = expr_begin(rule, "fib");
    put_u32(rule, NFTA_FIB_DREG, NFT_REG_1);
    put_u32(rule, NFTA_FIB_RESULT, NFT_FIB_RESULT_ADDRTYPE);
    put_u32(rule, NFTA_FIB_FLAGS, end == PACKET_SOURCE ? NFTA_FIB_F_SADDR : NFTA_FIB_F_DADDR);
    expr_end(rule, expr);
    compare(rule, op, &local, sizeof(local));
}

void match_ct_state(struct rule *rule, uint32_t states)
{
    uint32_t none = 0;
    load_ct(rule, NFT_CT_STATE);
    struct expr expr = expr_begin(rule, "bitwise");
    put_u32(rule, NFTA_BITWISE_SREG, NFT_REG_1);
    put_u32(rule, NFTA_BITWISE_DREG, NFT_REG_1);
    put_u32(rule, NFTA_BITWISE_LEN, sizeof(states));
    put_data(rule, NFTA_BITWISE_MASK, &states, sizeof(states));
    put_data(rule, NFTA_BITWISE_XOR, &none, sizeof(none));
    expr_end(rule, expr);
    compare(rule, NFT_CMP_NEQ, &none, sizeof(none));
}

void match_ct_other_state(struct rule *rule, uint32_t state)
{
    load_ct(rule, NFT_CT_STATE);
    compare(rule, NFT_CMP_NEQ, &state, sizeof(state));
}

void match_ct_reply(struct rule *rule)
{
    uint8_t reply = IP_CT_DIR_REPLY;
    load_ct(rule, NFT_CT_DIRECTION);
    compare(rule, NFT_CMP_EQ, &reply, sizeof(reply));
}

void verdict(struct rule *rule, int32_t code, const char *chain)
{
    struct expr expr = expr_begin(rule, "immediate");
    put_u32(rule, NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
    struct nlattr *data = mnl_attr_nest_start(rule->nlh, NFTA_IMMEDIATE_DATA);
    struct nlattr *nest = mnl_attr_nest_start(rule->nlh, NFTA_DATA_VERDICT);
    put_u32(rule, NFTA_VERDICT_CODE, (uint32_t)code);
    if (chain)
        mnl_attr_put_strz(rule->nlh, NFTA_VERDICT_CHAIN, chain);
    mnl_attr_nest_end(rule->nlh, nest);
    mnl_attr_nest_end(rule->nlh, data);
    expr_end(rule, expr);
    rule_end(rule);
}

static void reject(struct rule *rule, uint32_t type, uint8_t code)
{
    struct expr expr = expr_begin(rule, "reject");
    put_u32(rule, NFTA_REJECT_TYPE, type);
    mnl_attr_put_u8(rule->nlh, NFTA_REJECT_ICMP_CODE, code);
    expr_end(rule, expr);
    rule_end(rule);
}

void verdict_tcp_reset(struct rule *rule)
{
    match_protocol(rule, IPPROTO_TCP);
    reject(rule, NFT_REJECT_TCP_RST, 0);
}

void verdict_prohibited(struct rule *rule)
{
    reject(rule, NFT_REJECT_ICMPX_UNREACH, NFT_REJECT_ICMPX_ADMIN_PROHIBITED);
}

void verdict_redirect(struct rule *rule, uint16_t port)
{
    uint16_t wire = htons(port);
    struct expr expr = expr_begin(rule, "immediate");
    put_u32(rule, NFTA_IMMEDIATE_DREG, NFT_REG_1);
    put_data(rule, NFTA_IMMEDIATE_DATA, &wire, sizeof(wire));
    expr_end(rule, expr);
    expr = expr_begin(rule, "redir");
    put_u32(rule, NFTA_REDIR_REG_PROTO_MIN, NFT_REG_1);
    expr_end(rule, expr);
    rule_end(rule);
}
