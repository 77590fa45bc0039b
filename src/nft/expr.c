#include "nft/expr.h"

#include "nft/expr_build.h"

#include <arpa/inet.h>
#include <libnftnl/rule.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_conntrack_tuple_common.h>
#include <linux/rtnetlink.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>
#include <stddef.h>

struct rule rule_begin(struct batch *batch, const char *chain)
{
    struct rule rule = {.batch = batch, .object = nftnl_rule_alloc()};
    if (!rule.object || nftnl_rule_set_str(rule.object, NFTNL_RULE_TABLE, NFT_TABLE) ||
        nftnl_rule_set_str(rule.object, NFTNL_RULE_CHAIN, chain))
        batch_fail(batch);
    return rule;
}

static void rule_end(struct rule *rule, uint16_t type, uint16_t flags)
{
    if (!rule->object)
        return;
    nftnl_rule_nlmsg_build_payload(batch_message(rule->batch, type, flags), rule->object);
    nftnl_rule_free(rule->object);
}

void rule_append(struct rule *rule)
{
    rule_end(rule, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND);
}

void rules_delete(struct batch *batch, const char *chain)
{
    struct rule rule = rule_begin(batch, chain);
    rule_end(&rule, NFT_MSG_DELRULE, 0); /* without a handle: all rules of the chain */
}

/* `set_id` finds an anonymous set, which has its name from the kernel only after the transaction. */
static void look_up(struct rule *rule, const char *set, uint32_t set_id)
{
    expr_begin(rule, "lookup");
    put_text(rule, NFTNL_EXPR_LOOKUP_SET, set);
    put_u32(rule, NFTNL_EXPR_LOOKUP_SREG, NFT_REG_1);
    if (set_id)
        put_u32(rule, NFTNL_EXPR_LOOKUP_SET_ID, set_id);
}

static void look_up_anonymous(struct rule *rule, uint32_t set_id)
{
    look_up(rule, "__set%d", set_id);
}

void match_mark(struct rule *rule, enum nft_cmp_ops op, uint32_t mark)
{
    load_meta(rule, NFT_META_MARK, NFT_REG_1);
    compare(rule, op, &mark, sizeof(mark));
}

static void match_device(struct rule *rule, enum nft_meta_keys which, enum nft_cmp_ops op)
{
    const uint32_t loopback = LOOPBACK_INDEX;
    load_meta(rule, which, NFT_REG_1);
    compare(rule, op, &loopback, sizeof(loopback));
}

void match_from_loopback(struct rule *rule)
{
    match_device(rule, NFT_META_IIF, NFT_CMP_EQ);
}

void match_not_from_loopback(struct rule *rule)
{
    match_device(rule, NFT_META_IIF, NFT_CMP_NEQ);
}

void match_to_loopback(struct rule *rule)
{
    match_device(rule, NFT_META_OIF, NFT_CMP_EQ);
}

void match_not_to_loopback(struct rule *rule)
{
    match_device(rule, NFT_META_OIF, NFT_CMP_NEQ);
}

void match_has_user(struct rule *rule)
{
    uint32_t lowest = 0;
    load_meta(rule, NFT_META_SKUID, NFT_REG_1); /* ends the rule for packets without a user's socket */
    compare(rule, NFT_CMP_GTE, &lowest, sizeof(lowest));
}

void match_group(struct rule *rule, uint32_t group)
{
    load_meta(rule, NFT_META_SKGID, NFT_REG_1);
    compare(rule, NFT_CMP_EQ, &group, sizeof(group));
}

void match_family(struct rule *rule, uint8_t family)
{
    uint8_t protocol = family == AF_INET ? NFPROTO_IPV4 : NFPROTO_IPV6;
    load_meta(rule, NFT_META_NFPROTO, NFT_REG_1);
    compare(rule, NFT_CMP_EQ, &protocol, sizeof(protocol));
}

void match_protocol(struct rule *rule, uint8_t protocol)
{
    load_meta(rule, NFT_META_L4PROTO, NFT_REG_1);
    compare(rule, NFT_CMP_EQ, &protocol, sizeof(protocol));
}

void match_protocol_in(struct rule *rule, uint32_t set_id)
{
    load_meta(rule, NFT_META_L4PROTO, NFT_REG_1);
    look_up_anonymous(rule, set_id);
}

/* The same place in TCP and UDP (RFC 9293 section 3.1, RFC 768). */
static void load_destination_port(struct rule *rule)
{
    load_payload(rule, NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2, NFT_REG_1);
}

static void compare_port(struct rule *rule, enum nft_cmp_ops op, uint16_t port)
{
    uint16_t wire = htons(port);
    load_destination_port(rule);
    compare(rule, op, &wire, sizeof(wire));
}

void match_destination_port(struct rule *rule, uint16_t port)
{
    compare_port(rule, NFT_CMP_EQ, port);
}

void match_other_destination_port(struct rule *rule, uint16_t port)
{
    compare_port(rule, NFT_CMP_NEQ, port);
}

void match_next_header_in(struct rule *rule, uint32_t set_id)
{
    match_family(rule, AF_INET6);
    load_payload(rule, NFT_PAYLOAD_NETWORK_HEADER, offsetof(struct ip6_hdr, ip6_nxt), 1, NFT_REG_1);
    look_up_anonymous(rule, set_id);
}

void match_destination_port_in(struct rule *rule, uint32_t set_id)
{
    load_destination_port(rule);
    look_up_anonymous(rule, set_id);
}

void match_icmp_type_in(struct rule *rule, uint8_t family, uint32_t set_id)
{
    match_family(rule, family);
    match_protocol(rule, family == AF_INET ? IPPROTO_ICMP : IPPROTO_ICMPV6);
    load_payload(rule, NFT_PAYLOAD_TRANSPORT_HEADER, 0, 1, NFT_REG_1);
    look_up_anonymous(rule, set_id);
}

static void load_destination(struct rule *rule, uint8_t family)
{
    match_family(rule, family);
    load_payload(rule, NFT_PAYLOAD_NETWORK_HEADER,
                 family == AF_INET ? offsetof(struct iphdr, daddr) : offsetof(struct ip6_hdr, ip6_dst), ip_size(family),
                 NFT_REG_1);
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

void match_source_in(struct rule *rule, uint8_t family, const char *set)
{
    match_family(rule, family);
    load_payload(rule, NFT_PAYLOAD_NETWORK_HEADER,
                 family == AF_INET ? offsetof(struct iphdr, saddr) : offsetof(struct ip6_hdr, ip6_src), ip_size(family),
                 NFT_REG_1);
    look_up(rule, set, 0);
}

void match_local(struct rule *rule, enum packet_end end, enum nft_cmp_ops op)
{
    uint32_t local = RTN_LOCAL;
    expr_begin(rule, "fib");
    put_u32(rule, NFTNL_EXPR_FIB_DREG, NFT_REG_1);
    put_u32(rule, NFTNL_EXPR_FIB_RESULT, NFT_FIB_RESULT_ADDRTYPE);
    put_u32(rule, NFTNL_EXPR_FIB_FLAGS, end == PACKET_SOURCE ? NFTA_FIB_F_SADDR : NFTA_FIB_F_DADDR);
    compare(rule, op, &local, sizeof(local));
}

/* Any of these bits is set in what was loaded. */
static void match_bits(struct rule *rule, uint32_t bits)
{
    uint32_t none = 0;
    expr_begin(rule, "bitwise");
    put_u32(rule, NFTNL_EXPR_BITWISE_SREG, NFT_REG_1);
    put_u32(rule, NFTNL_EXPR_BITWISE_DREG, NFT_REG_1);
    put_u32(rule, NFTNL_EXPR_BITWISE_LEN, sizeof(bits));
    put(rule, NFTNL_EXPR_BITWISE_MASK, &bits, sizeof(bits));
    put(rule, NFTNL_EXPR_BITWISE_XOR, &none, sizeof(none));
    compare(rule, NFT_CMP_NEQ, &none, sizeof(none));
}

void match_ct_state(struct rule *rule, uint32_t states)
{
    load_ct(rule, NFT_CT_STATE, NFT_REG_1);
    match_bits(rule, states);
}

void match_ct_redirected(struct rule *rule)
{
    load_ct(rule, NFT_CT_STATUS, NFT_REG_1); /* ends the rule for packets without a connection */
    match_bits(rule, IPS_DST_NAT);
}

void match_ct_other_state(struct rule *rule, uint32_t state)
{
    load_ct(rule, NFT_CT_STATE, NFT_REG_1);
    compare(rule, NFT_CMP_NEQ, &state, sizeof(state));
}

void match_ct_reply(struct rule *rule)
{
    uint8_t reply = IP_CT_DIR_REPLY;
    load_ct(rule, NFT_CT_DIRECTION, NFT_REG_1);
    compare(rule, NFT_CMP_EQ, &reply, sizeof(reply));
}

void match_ct_zone(struct rule *rule, uint16_t zone)
{
    load_ct(rule, NFT_CT_ZONE, NFT_REG_1);
    compare(rule, NFT_CMP_EQ, &zone, sizeof(zone));
}

void match_ct_other_zone(struct rule *rule, uint16_t zone)
{
    load_ct(rule, NFT_CT_ZONE, NFT_REG_1);
    compare(rule, NFT_CMP_NEQ, &zone, sizeof(zone));
}

void match_transparent_socket(struct rule *rule)
{
    uint8_t yes = 1;
    expr_begin(rule, "socket");
    put_u32(rule, NFTNL_EXPR_SOCKET_KEY, NFT_SOCKET_TRANSPARENT);
    put_u32(rule, NFTNL_EXPR_SOCKET_DREG, NFT_REG_1);
    compare(rule, NFT_CMP_EQ, &yes, sizeof(yes));
}

void verdict(struct rule *rule, int32_t code, const char *chain)
{
    expr_begin(rule, "immediate");
    put_u32(rule, NFTNL_EXPR_IMM_DREG, NFT_REG_VERDICT);
    put_u32(rule, NFTNL_EXPR_IMM_VERDICT, (uint32_t)code);
    if (chain)
        put_text(rule, NFTNL_EXPR_IMM_CHAIN, chain);
    rule_append(rule);
}

static void reject(struct rule *rule, uint32_t type, uint8_t code)
{
    expr_begin(rule, "reject");
    put_u32(rule, NFTNL_EXPR_REJECT_TYPE, type);
    put(rule, NFTNL_EXPR_REJECT_CODE, &code, sizeof(code));
    rule_append(rule);
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

void match_new_tcp(struct rule *rule, enum nft_cmp_ops op)
{
    const uint8_t looked_at = TH_FIN | TH_SYN | TH_RST | TH_ACK, syn = TH_SYN, none = 0;
    match_protocol(rule, IPPROTO_TCP);
    load_payload(rule, NFT_PAYLOAD_TRANSPORT_HEADER, 13, sizeof(syn), NFT_REG_1); /* RFC 9293 section 3.1 */
    expr_begin(rule, "bitwise");
    put_u32(rule, NFTNL_EXPR_BITWISE_SREG, NFT_REG_1);
    put_u32(rule, NFTNL_EXPR_BITWISE_DREG, NFT_REG_1);
    put_u32(rule, NFTNL_EXPR_BITWISE_LEN, sizeof(looked_at));
    put(rule, NFTNL_EXPR_BITWISE_MASK, &looked_at, sizeof(looked_at));
    put(rule, NFTNL_EXPR_BITWISE_XOR, &none, sizeof(none));
    compare(rule, op, &syn, sizeof(syn));
}

void prolong_found(struct rule *rule, const char *set, uint64_t timeout_ms)
{
    expr_begin(rule, "dynset");
    put_text(rule, NFTNL_EXPR_DYNSET_SET_NAME, set);
    put_u32(rule, NFTNL_EXPR_DYNSET_OP, NFT_DYNSET_OP_UPDATE);
    put_u32(rule, NFTNL_EXPR_DYNSET_SREG_KEY, NFT_REG_1); /* what was looked up is still there */
    put(rule, NFTNL_EXPR_DYNSET_TIMEOUT, &timeout_ms, sizeof(timeout_ms));
}

void rule_prolongs(struct rule *rule, const char *set, uint64_t timeout_ms)
{
    prolong_found(rule, set, timeout_ms);
    rule_append(rule);
}

void rule_sets_zone(struct rule *rule, uint16_t zone)
{
    uint8_t direction = IP_CT_DIR_ORIGINAL;
    expr_begin(rule, "immediate");
    put_u32(rule, NFTNL_EXPR_IMM_DREG, NFT_REG_1);
    put(rule, NFTNL_EXPR_IMM_DATA, &zone, sizeof(zone));
    expr_begin(rule, "ct");
    put_u32(rule, NFTNL_EXPR_CT_KEY, NFT_CT_ZONE);
    put_u32(rule, NFTNL_EXPR_CT_SREG, NFT_REG_1);
    put(rule, NFTNL_EXPR_CT_DIR, &direction, sizeof(direction));
    rule_append(rule);
}

void rule_clears_mark(struct rule *rule)
{
    const uint32_t none = 0;
    expr_begin(rule, "immediate");
    put_u32(rule, NFTNL_EXPR_IMM_DREG, NFT_REG_1);
    put(rule, NFTNL_EXPR_IMM_DATA, &none, sizeof(none));
    expr_begin(rule, "meta");
    put_u32(rule, NFTNL_EXPR_META_KEY, NFT_META_MARK);
    put_u32(rule, NFTNL_EXPR_META_SREG, NFT_REG_1);
    rule_append(rule);
}

void verdict_redirect(struct rule *rule, uint16_t port)
{
    uint16_t wire = htons(port);
    expr_begin(rule, "immediate");
    put_u32(rule, NFTNL_EXPR_IMM_DREG, NFT_REG_1);
    put(rule, NFTNL_EXPR_IMM_DATA, &wire, sizeof(wire));
    expr_begin(rule, "redir");
    put_u32(rule, NFTNL_EXPR_REDIR_REG_PROTO_MIN, NFT_REG_1);
    rule_append(rule);
}
