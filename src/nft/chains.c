#include "nft/chains.h"

#include "nft/changes.h"
#include "nft/expr.h"
#include "nft/guards.h"
#include "nft/peer_chains.h"
#include "nft/ports.h"
#include "nft/resolver_chains.h"
#include "nft/sets.h"
#include "nft/table.h"
#include "nft/way_expr.h"

#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <netinet/icmp6.h>

#define PRIORITY_EGRESS 0
#define MLD_V2_LISTENER_REPORT 143 /* RFC 3810 section 5.2 */
#define MLD_RECORDS_MAX 4

#define CT_ESTABLISHED_RELATED (NF_CT_STATE_BIT(IP_CT_ESTABLISHED) | NF_CT_STATE_BIT(IP_CT_RELATED))

static const uint8_t families[] = {AF_INET, AF_INET6};
/* RFC 8200 section 4, RFC 4302, and those that no kernel looks behind (RFC 6275, 7401, 5533). */
static const uint8_t extension_headers[] = {
    IPPROTO_HOPOPTS, IPPROTO_ROUTING, IPPROTO_FRAGMENT, IPPROTO_AH, IPPROTO_DSTOPTS, IPPROTO_MH, 139, 140};

/* One verdict for the addresses of a pair of sets. */
static void rules_for_sets(struct batch *batch, const char *chain, const char *stem, int32_t code, const char *target)
{
    char name[SET_NAME_MAX];
    for (size_t i = 0; i < 2; i++) {
        struct rule rule = rule_begin(batch, chain);
        match_destination_in(&rule, families[i], set_name(stem, families[i], name));
        verdict(&rule, code, target);
    }
}

/* Refuses them, and what leads to the IPv4 addresses among them. */
static void rules_for_denied(struct batch *batch, const char *stem)
{
    char name[SET_NAME_MAX];
    rules_for_sets(batch, "egress", stem, NFT_GOTO, "denied");
    for (size_t i = 0; i < IP_EMBEDDINGS; i++) {
        struct rule rule = rule_begin(batch, "egress");
        match_embedded_in(&rule, PACKET_DESTINATION, &ip_embeddings[i], set_name(stem, AF_INET, name));
        verdict(&rule, NFT_GOTO, "denied");
    }
}

/* With audit it refuses nothing, so whatever goes there has passed its last rule. */
static void chain_refuse(struct batch *batch, const struct nft_settings *settings)
{
    table_add_chain(batch, "refuse");
    struct rule rule = rule_begin(batch, "refuse");
    if (settings->audit) {
        verdict(&rule, NF_ACCEPT, NULL);
        return;
    }
    if (settings->drops) {
        verdict(&rule, NF_DROP, NULL);
        return;
    }
    verdict_tcp_reset(&rule);
    rule = rule_begin(batch, "refuse");
    verdict_prohibited(&rule);
}

/* Reports are for switches that pass on only what is wanted. The application's groups and their sources, which the
 * kernel reports as well, are words of its own choice. */
static void chain_reports(struct batch *batch)
{
    static const uint8_t first[] = {MLD_LISTENER_REPORT, MLD_LISTENER_REDUCTION};
    table_add_chain(batch, "reports");
    uint32_t types = anonymous_set(batch, KEY_ICMPV6_TYPE, first, sizeof(first));
    struct rule rule = rule_begin(batch, "reports");
    match_icmp_type_in(&rule, AF_INET6, types);
    match_other_group(&rule, 5);
    verdict(&rule, NF_DROP, NULL);
    rule = rule_begin(batch, "reports");
    match_icmp_type_in(&rule, AF_INET6, anonymous_set(batch, KEY_ICMPV6_TYPE, first, sizeof(first)));
    verdict(&rule, NF_ACCEPT, NULL);
    rule = rule_begin(batch, "reports");
    match_more_records(&rule, MLD_RECORDS_MAX);
    verdict(&rule, NF_DROP, NULL);
    for (size_t i = 0; i < MLD_RECORDS_MAX; i++) {
        rule = rule_begin(batch, "reports");
        match_other_group(&rule, 9 + 20 * i);
        verdict(&rule, NF_DROP, NULL);
    }
    rule = rule_begin(batch, "reports");
    verdict(&rule, NF_ACCEPT, NULL);
}

/* Without neighbour discovery (RFC 4861) and the group reports that switches want for it (RFC 3810) there is no IPv6 at
 * all, so no deny may touch them. The kernel sends them by itself: a process that sends such packets wants to smuggle
 * something past the policy, or to be taken for the router. */
static void chain_link(struct batch *batch, bool audit)
{
    static const uint8_t reports[] = {MLD_LISTENER_REPORT, MLD_LISTENER_REDUCTION, MLD_V2_LISTENER_REPORT};
    if (!audit)
        chain_reports(batch);
    table_add_chain(batch, "link");
    struct rule rule = rule_begin(batch, "link");
    match_has_user(&rule);
    verdict(&rule, audit ? NFT_RETURN : NF_DROP, NULL);
    if (!audit) {
        uint32_t types = anonymous_set(batch, KEY_ICMPV6_TYPE, reports, sizeof(reports));
        rule = rule_begin(batch, "link");
        match_icmp_type_in(&rule, AF_INET6, types);
        verdict(&rule, NFT_GOTO, "reports");
    }
    rule = rule_begin(batch, "link");
    verdict(&rule, NF_ACCEPT, NULL);
}

static void refuse_local_resolver(struct batch *batch, const struct nft_settings *settings, const struct ip_addr *addr,
                                  uint16_t port)
{
    if (resolver_is_exempt(settings, addr))
        return;
    struct rule rule = port ? rule_to_port(batch, "loopback", port) : rule_begin(batch, "loopback");
    match_destination(&rule, addr);
    verdict(&rule, NFT_GOTO, "refuse");
}

/* Packets to this host. Resolvers there would answer any name past the policy. */
static void chain_loopback(struct batch *batch, const struct nft_settings *settings)
{
    /* Docker answers on 127.0.0.11, port 53 being redirected to a high one that changes. */
    static const struct ip_addr docker = {AF_INET, {127, 0, 0, 11}};
    static const struct ip_addr systemd = {AF_INET, {127, 0, 0, 53}};
    table_add_chain(batch, "loopback");
    if (!settings->audit)
        guard_loopback(batch);
    struct rule rule;
    if (settings->mark) {
        rule = rule_begin(batch, "loopback");
        match_own(&rule, settings);
        verdict(&rule, NF_ACCEPT, NULL);
    }
    refuse_local_resolver(batch, settings, &docker, 0);
    refuse_local_resolver(batch, settings, &systemd, PORT_DNS);
    for (size_t i = 0; i < settings->n_upstreams; i++) {
        struct ip_addr addr = sock_addr_ip(&settings->upstreams[i]);
        if (ip_is_loopback(&addr))
            refuse_local_resolver(batch, settings, &addr, sock_addr_port(&settings->upstreams[i]));
    }
    rule = rule_begin(batch, "loopback");
    verdict(&rule, NF_ACCEPT, NULL);
}

static void refuse_extension_headers(struct batch *batch, const char *chain)
{
    uint32_t set = anonymous_set(batch, KEY_PROTOCOL, extension_headers, sizeof(extension_headers));
    struct rule rule = rule_begin(batch, chain);
    match_next_header_in(&rule, set);
    verdict(&rule, NFT_JUMP, "headers");
}

/* With a route that the sender chose, the address of a packet is that of the next hop, which may be an allowed one that
 * forwards it. Of a fragment no port is known. */
static void refuse_headers(struct batch *batch)
{
    struct rule rule = rule_begin(batch, "egress");
    match_ipv4_options_or_fragment(&rule);
    verdict(&rule, NFT_GOTO, "refuse");
    refuse_extension_headers(batch, "egress");
}

/* IPv6 with headers of extension; what follows them is read from the packet with each match. */
static void chain_headers(struct batch *batch)
{
    static const uint8_t refused[] = {IPPROTO_ROUTING, IPPROTO_FRAGMENT};
    table_add_chain(batch, "headers");
    for (size_t i = 0; i < sizeof(refused); i++) {
        struct rule rule = rule_begin(batch, "headers");
        match_ipv6_header(&rule, refused[i]);
        verdict(&rule, NFT_GOTO, "refuse");
    }
}

/* What holds in every sandbox, before any policy. */
static void egress_begin(struct batch *batch, const struct nft_settings *settings)
{
    static const uint8_t link_types[] = {ICMP6_PACKET_TOO_BIG, MLD_LISTENER_REPORT, MLD_LISTENER_REDUCTION,
                                         ND_ROUTER_SOLICIT,    ND_ROUTER_ADVERT,    ND_NEIGHBOR_SOLICIT,
                                         ND_NEIGHBOR_ADVERT,   ND_REDIRECT,         MLD_V2_LISTENER_REPORT};
    chain_refuse(batch, settings);
    chain_link(batch, settings->audit);
    chain_loopback(batch, settings);

    uint32_t types = anonymous_set(batch, KEY_ICMPV6_TYPE, link_types, sizeof(link_types));
    struct rule rule = rule_begin(batch, "egress");
    match_icmp_type_in(&rule, AF_INET6, types);
    verdict(&rule, NFT_JUMP, "link");

    for (size_t i = 0; i < 2; i++) { /* these without a look at the routing table */
        rule = rule_begin(batch, "egress");
        match_loopback(&rule, PACKET_DESTINATION, NFT_CMP_EQ, families[i]);
        verdict(&rule, NFT_GOTO, "loopback");
    }
    rule = rule_begin(batch, "egress");
    match_local(&rule, PACKET_DESTINATION, NFT_CMP_EQ);
    verdict(&rule, NFT_GOTO, "loopback");

    if (!settings->audit) {
        /* With a forged source a packet could pass for the reply to a connection that never was. */
        rule = rule_begin(batch, "egress");
        match_local(&rule, PACKET_SOURCE, NFT_CMP_NEQ);
        verdict(&rule, NF_DROP, NULL);
        chain_headers(batch);
        refuse_headers(batch);
    }

    rule = rule_begin(batch, "egress");
    match_ct_reply(&rule);
    match_ct_state(&rule, CT_ESTABLISHED_RELATED);
    verdict(&rule, NF_ACCEPT, NULL);
}

/* A program that looks its address up once and connects again and again keeps it. The longest lease, so that none is
 * shortened. */
static void prolong_learned(struct batch *batch)
{
    char name[SET_NAME_MAX];
    for (size_t i = 0; i < 2; i++) {
        struct rule rule = rule_begin(batch, "egress");
        match_ct_state(&rule, NF_CT_STATE_BIT(IP_CT_NEW));
        match_destination_in(&rule, families[i], set_name("dyn_allow", families[i], name));
        rule_prolongs(&rule, name, LEASE_MAX_S * MS_PER_S);
    }
}

/* What follows asks sets of ranges, which the kernel may show later than the rules. Silence, not a refusal: connections
 * are tried again by themselves. */
static void chain_gate(struct batch *batch, const struct nft_settings *settings, bool gated)
{
    table_add_chain(batch, "gate");
    if (gated) {
        struct rule rule = rule_begin(batch, "gate");
        verdict(&rule, settings->audit ? NF_ACCEPT : NF_DROP, NULL);
    }
    struct rule rule = rule_begin(batch, "egress");
    verdict(&rule, NFT_JUMP, "gate");
}

void chain_open_gate(struct batch *batch)
{
    rules_delete(batch, "gate");
}

void chain_egress(struct batch *batch, const struct nft_settings *settings, bool default_allow, bool gated)
{
    table_add_output_chain(batch, "egress", "filter", PRIORITY_EGRESS, chain_policy(settings, false));
    egress_begin(batch, settings);
    chain_denied(batch, settings);
    chain_direct(batch, settings);
    egress_resolvers(batch, settings);
    count_opened(batch, settings);
    chain_gate(batch, settings, gated);
    if (settings->block_doh_443)
        egress_doh(batch, settings);
    rules_for_denied(batch, "always_deny");
    rules_for_sets(batch, "egress", "always_allow", NFT_GOTO, "direct");
    /* Before "established": what is denied or revoked now ends flows that were allowed once. */
    rules_for_denied(batch, "deny");
    rules_for_sets(batch, "egress", "revoked", NFT_GOTO, "denied");
    struct rule rule = rule_begin(batch, "egress");
    match_ct_state(&rule, CT_ESTABLISHED_RELATED);
    verdict(&rule, NF_ACCEPT, NULL);
    prolong_learned(batch);
    rules_for_sets(batch, "egress", "dyn_allow", NF_ACCEPT, NULL);
    rules_for_sets(batch, "egress", "allow", NFT_GOTO, "direct");
    table_add_chain(batch, "fallback");
    rule = rule_begin(batch, "egress");
    verdict(&rule, NFT_GOTO, "fallback");
    chain_set_default(batch, settings, default_allow);
}

uint32_t chain_policy(const struct nft_settings *settings, bool default_allow)
{
    return default_allow || settings->audit ? NF_ACCEPT : NF_DROP;
}

void chain_set_default(struct batch *batch, const struct nft_settings *settings, bool default_allow)
{
    table_set_policy(batch, "egress", chain_policy(settings, default_allow));
    rules_delete(batch, "fallback");
    struct rule rule = rule_begin(batch, "fallback");
    verdict(&rule, NFT_GOTO, default_allow ? "direct" : "denied");
}

void chain_egress_closed(struct batch *batch, bool drops)
{
    struct nft_settings nobody = {.drops = drops};
    table_add_output_chain(batch, "egress", "filter", PRIORITY_EGRESS, NF_DROP);
    egress_begin(batch, &nobody);
    struct rule rule = rule_begin(batch, "egress");
    verdict(&rule, NFT_GOTO, "refuse");
}

void chain_egress_shut(struct batch *batch)
{
    table_add_output_chain(batch, "egress", "filter", PRIORITY_EGRESS, NF_DROP);
    struct rule rule = rule_begin(batch, "egress");
    match_to_loopback(&rule);
    verdict(&rule, NF_ACCEPT, NULL);
}

/* Questions to port 53, and what has no port. Those that conntrack does not understand are not redirected, nor is what
 * belongs to an older flow; and with a fragment that hides the port of another one either may be such a question. */
static void chain_questions(struct batch *batch, const struct nft_settings *settings)
{
    table_add_chain(batch, "questions");
    for (size_t i = 0; i < 2; i++) { /* redirected to port 53 */
        struct rule rule = rule_begin(batch, "questions");
        match_loopback(&rule, PACKET_DESTINATION, NFT_CMP_EQ, families[i]);
        verdict(&rule, NF_ACCEPT, NULL);
    }
    struct rule rule = rule_begin(batch, "questions");
    match_ipv4_options_or_fragment(&rule);
    verdict(&rule, NFT_GOTO, "refuse");
    accept_exempt_dns(batch, "questions", settings);
    rule = rule_begin(batch, "questions");
    verdict(&rule, NFT_GOTO, "refuse");
}

void chain_unredirected(struct batch *batch, const struct nft_settings *settings)
{
    static const uint8_t transports[] = {IPPROTO_TCP, IPPROTO_UDP};
    static const uint8_t discovery[] = {ND_ROUTER_SOLICIT, ND_ROUTER_ADVERT, ND_NEIGHBOR_SOLICIT, ND_NEIGHBOR_ADVERT,
                                        ND_REDIRECT};
    chain_refuse(batch, settings);
    chain_loopback(batch, settings);
    chain_headers(batch);
    chain_questions(batch, settings);
    table_add_output_chain(batch, "unredirected", "filter", PRIORITY_EGRESS, NF_ACCEPT);
    struct rule rule = rule_begin(batch, "unredirected");
    match_to_loopback(&rule);
    verdict(&rule, NFT_GOTO, "loopback");
    /* Before the ports: some kernels read one out of a fragment that has none. */
    rule = rule_begin(batch, "unredirected");
    match_ipv4_fragment(&rule);
    verdict(&rule, NFT_GOTO, "refuse");
    refuse_extension_headers(batch, "unredirected");
    uint32_t set = anonymous_set(batch, KEY_PROTOCOL, transports, sizeof(transports));
    rule = rule_begin(batch, "unredirected");
    match_protocol_in(&rule, set);
    match_other_destination_port(&rule, PORT_DNS);
    verdict(&rule, NF_ACCEPT, NULL);
    rule = rule_begin(batch, "unredirected");
    match_own(&rule, settings);
    verdict(&rule, NF_ACCEPT, NULL);
    set = anonymous_set(batch, KEY_PROTOCOL, transports, sizeof(transports));
    rule = rule_begin(batch, "unredirected");
    match_protocol_in(&rule, set);
    verdict(&rule, NFT_GOTO, "questions");
    /* Sent to all, it is heard here as well, as if a router had sent it. */
    drop_icmp_of_processes(batch, "unredirected", AF_INET6, discovery, sizeof(discovery));
}
