#include "nft/guards.h"

#include "nft/changes.h"
#include "nft/expr.h"
#include "nft/frame_expr.h"
#include "nft/older.h"
#include "nft/sets.h"
#include "nft/table.h"
#include "nft/way_expr.h"

#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>
#include <stdint.h>

#define PRIORITY_FORGED                                                                                                \
    (-310) /* before conntrack, which would take a forged packet for a connection, and defragmentation */
#define PRIORITY_FILTER 0

static const uint8_t families[] = {AF_INET, AF_INET6};

void match_own(struct rule *rule, const struct nft_settings *settings)
{
    match_mark(rule, NFT_CMP_EQ, settings->mark);
    if (settings->group)
        match_group(rule, settings->group);
}

void drop_icmp_of_processes(struct batch *batch, const char *chain, uint8_t family, const uint8_t *types, size_t n)
{
    uint32_t set = anonymous_set(batch, family == AF_INET ? KEY_ICMP_TYPE : KEY_ICMPV6_TYPE, types, n);
    struct rule rule = rule_begin(batch, chain);
    match_icmp_type_in(&rule, family, set);
    match_has_user(&rule);
    verdict(&rule, NF_DROP, NULL);
}

/* The kernel believes errors and redirects (RFC 792, RFC 4443, RFC 4861 section 4.5) whoever sends them. */
static void chain_errors(struct batch *batch)
{
    static const uint8_t v4[] = {ICMP_DEST_UNREACH, ICMP_SOURCE_QUENCH, ICMP_REDIRECT, ICMP_TIME_EXCEEDED,
                                 ICMP_PARAMETERPROB};
    static const uint8_t v6[] = {ICMP6_DST_UNREACH, ICMP6_PACKET_TOO_BIG, ICMP6_TIME_EXCEEDED, ICMP6_PARAM_PROB,
                                 ND_REDIRECT};
    table_add_chain(batch, "errors");
    drop_icmp_of_processes(batch, "errors", AF_INET, v4, sizeof(v4));
    drop_icmp_of_processes(batch, "errors", AF_INET6, v6, sizeof(v6));
}

/* The kernel's own resets for refused connections have the refused address; they are related. */
static void chain_foreign(struct batch *batch)
{
    table_add_chain(batch, "foreign");
    struct rule rule = rule_begin(batch, "foreign");
    match_has_user(&rule);
    verdict(&rule, NF_DROP, NULL);
    rule = rule_begin(batch, "foreign");
    match_ct_other_state(&rule, NF_CT_STATE_BIT(IP_CT_RELATED));
    verdict(&rule, NF_DROP, NULL);
}

/* Bound to a device, which takes no capability, a socket sends to this host's addresses on others through it. What was
 * redirected is on its way to loopback all the same. */
static void chain_strayed(struct batch *batch)
{
    table_add_chain(batch, "strayed");
    struct rule rule = rule_begin(batch, "strayed");
    match_ct_redirected(&rule);
    verdict(&rule, NFT_RETURN, NULL);
    rule = rule_begin(batch, "strayed");
    verdict(&rule, NF_DROP, NULL);
}

void guard_loopback(struct batch *batch)
{
    static const uint8_t icmp[] = {IPPROTO_ICMP, IPPROTO_ICMPV6};
    chain_errors(batch);
    chain_foreign(batch);
    chain_strayed(batch);
    struct rule rule = rule_begin(batch, "loopback");
    match_not_to_loopback(&rule);
    verdict(&rule, NFT_JUMP, "strayed");
    for (size_t i = 0; i < 2; i++) {
        rule = rule_begin(batch, "loopback");
        match_foreign_source(&rule, families[i]);
        verdict(&rule, NFT_JUMP, "foreign");
    }
    uint32_t set = anonymous_set(batch, KEY_PROTOCOL, icmp, sizeof(icmp));
    rule = rule_begin(batch, "loopback");
    match_protocol_in(&rule, set);
    verdict(&rule, NFT_JUMP, "errors");
}

/* With a question of the application's from a port of the sidecar's there is a redirected connection whose replies have
 * the upstream's address, and everybody can send such replies. Which sockets are the sidecar's tells IP_TRANSPARENT,
 * see base/own_socket.h: were it the mark, who sets one on a socket of its own and hears nothing any more had found it.
 */
static void refuse_redirected_answers(struct batch *batch, bool zones)
{
    struct rule rule = rule_begin(batch, "forged");
    match_ct_redirected(&rule);
    if (zones) /* a container runtime may redirect what the sidecar asks, too */
        match_ct_other_zone(&rule, OWN_ZONE);
    match_transparent_socket(&rule);
    verdict(&rule, NF_DROP, NULL);
}

/* Without the mark of a route: what a frame cannot have either is a connection, which packets on loopback keep. */
static void drop_foreign_frames(struct batch *batch)
{
    struct rule rule = rule_begin(batch, "forged");
    match_ct_redirected(&rule);
    verdict(&rule, NF_ACCEPT, NULL);
    for (size_t i = 0; i < 2; i++) {
        rule = rule_begin(batch, "forged");
        match_foreign_source(&rule, families[i]);
        match_ct_other_state(&rule, NF_CT_STATE_BIT(IP_CT_RELATED));
        verdict(&rule, NF_DROP, NULL);
    }
}

void chain_forged(struct batch *batch, bool own_sockets, unsigned lacks)
{
    struct table_hook hook = {
        .type = "filter", .number = NF_INET_PRE_ROUTING, .priority = PRIORITY_FORGED, .policy = NF_ACCEPT};
    table_add_base_chain(batch, "forged", &hook);
    struct rule rule = rule_begin(batch, "forged");
    match_not_from_loopback(&rule);
    verdict(&rule, NF_ACCEPT, NULL);
    if (own_sockets && !(lacks & LACKS_SOCKETS))
        refuse_redirected_answers(batch, !(lacks & LACKS_ZONES));
    if (lacks & LACKS_ROUTES) {
        drop_foreign_frames(batch);
        return;
    }
    rule = rule_begin(batch, "forged");
    match_routed(&rule);
    verdict(&rule, NF_ACCEPT, NULL);
    rule = rule_begin(batch, "forged");
    verdict(&rule, NF_DROP, NULL);
}

/* Nobody behind the rules sees the mark. What the kernel sends by itself for a socket has that socket's mark and no
 * group: all of these marks go, or whoever sees which of his own does has found it. */
static void hide_mark(struct batch *batch, const struct nft_settings *settings)
{
    struct rule rule;
    if (!settings->group) {
        rule = rule_begin(batch, "leaving");
        match_own(&rule, settings);
        rule_clears_mark(&rule);
        return;
    }
    table_add_chain(batch, "marked");
    rule = rule_begin(batch, "marked");
    match_own(&rule, settings);
    rule_clears_mark(&rule);
    rule = rule_begin(batch, "marked");
    match_has_user(&rule);
    verdict(&rule, NFT_RETURN, NULL);
    rule = rule_begin(batch, "marked");
    rule_clears_mark(&rule);
    rule = rule_begin(batch, "leaving");
    match_mark(&rule, NFT_CMP_NEQ, 0);
    verdict(&rule, NFT_JUMP, "marked");
}

/* Behind the routing, which only here is known: a redirected packet was on its way to another device before. */
void chain_leaving(struct batch *batch, const struct nft_settings *settings)
{
    struct table_hook hook = {
        .type = "filter", .number = NF_INET_POST_ROUTING, .priority = PRIORITY_FILTER, .policy = NF_ACCEPT};
    table_add_base_chain(batch, "leaving", &hook);
    if (settings->mark)
        hide_mark(batch, settings);
    for (size_t i = 0; i < 2 && !settings->audit; i++) {
        struct rule rule = rule_begin(batch, "leaving");
        match_not_to_loopback(&rule);
        match_loopback(&rule, PACKET_DESTINATION, NFT_CMP_EQ, families[i]);
        verdict(&rule, NF_DROP, NULL);
    }
}

void chain_forward(struct batch *batch)
{
    struct table_hook hook = {
        .type = "filter", .number = NF_INET_FORWARD, .priority = PRIORITY_FILTER, .policy = NF_DROP};
    table_add_base_chain(batch, "forward", &hook);
}

static void rules_for_sources(struct batch *batch, const char *stem, int32_t code)
{
    char name[SET_NAME_MAX];
    for (size_t i = 0; i < 2; i++) {
        struct rule rule = rule_begin(batch, "replies");
        match_source_in(&rule, families[i], set_name(stem, families[i], name));
        verdict(&rule, code, NULL);
    }
}

static void drop_denied(struct batch *batch, const char *stem)
{
    char name[SET_NAME_MAX];
    rules_for_sources(batch, stem, NF_DROP);
    for (size_t i = 0; i < IP_EMBEDDINGS; i++) {
        struct rule rule = rule_begin(batch, "replies");
        match_embedded_in(&rule, PACKET_SOURCE, &ip_embeddings[i], set_name(stem, AF_INET, name));
        verdict(&rule, NF_DROP, NULL);
    }
}

/* In the order of `egress`. */
static void chain_replies(struct batch *batch, const struct nft_settings *settings)
{
    table_add_chain(batch, "replies");
    struct rule rule = rule_begin(batch, "replies");
    match_from_loopback(&rule);
    verdict(&rule, NF_ACCEPT, NULL);
    rule = rule_begin(batch, "replies");
    match_protocol(&rule, IPPROTO_TCP);
    verdict(&rule, NF_ACCEPT, NULL);
    rule = rule_begin(batch, "replies");
    match_ct_zone(&rule, OWN_ZONE);
    verdict(&rule, NF_ACCEPT, NULL);
    if (settings->n_exempt)
        rules_for_sources(batch, "exempt", NF_ACCEPT);
    drop_denied(batch, "always_deny");
    rules_for_sources(batch, "always_allow", NF_ACCEPT);
    drop_denied(batch, "deny");
    rules_for_sources(batch, "revoked", NF_DROP);
}

/* First packets from outside. Whoever sends one counts as who opened the flow, and answers to it pass before every
 * deny. So the far end of a flow that the sandbox opened may not be taken for that when conntrack has no entry of it,
 * because it is older than the rules, was ended or had its time. */
static void chain_arrivals(struct batch *batch, const char *revoked)
{
    char name[SET_NAME_MAX];
    table_add_chain(batch, "arrivals");
    struct rule rule = rule_begin(batch, "arrivals");
    match_from_loopback(&rule);
    verdict(&rule, NF_ACCEPT, NULL);
    rule = rule_begin(batch, "arrivals"); /* conntrack would pick the connection up, nf_conntrack_tcp_loose */
    match_new_tcp(&rule, NFT_CMP_NEQ);
    verdict(&rule, NF_DROP, NULL);
    rule = rule_begin(batch, "arrivals");
    match_protocol(&rule, IPPROTO_TCP);
    verdict(&rule, NF_ACCEPT, NULL);
    for (size_t i = 0; i < 2 && revoked; i++) { /* for as long as they go on */
        rule = rule_begin(batch, "arrivals");
        match_source_in(&rule, families[i], set_name(revoked, families[i], name));
        prolong_found(&rule, name, REVOKED_S * MS_PER_S);
        verdict(&rule, NF_DROP, NULL);
    }
}

static void add_inbound(struct batch *batch)
{
    struct table_hook hook = {
        .type = "filter", .number = NF_INET_LOCAL_IN, .priority = PRIORITY_FILTER, .policy = NF_ACCEPT};
    table_add_base_chain(batch, "inbound", &hook);
}

static void inbound_arrivals(struct batch *batch)
{
    struct rule rule = rule_begin(batch, "inbound");
    match_ct_state(&rule, NF_CT_STATE_BIT(IP_CT_NEW));
    verdict(&rule, NFT_GOTO, "arrivals");
}

void chain_inbound(struct batch *batch, const struct nft_settings *settings, bool zones)
{
    chain_arrivals(batch, "revoked");
    older_rules(batch, "arrivals");
    if (zones)
        chain_replies(batch, settings);
    add_inbound(batch);
    if (zones) {
        /* Whoever opened a connection from outside sends in its original direction. Errors of routers are "related". */
        struct rule rule = rule_begin(batch, "inbound");
        match_ct_reply(&rule);
        match_ct_state(&rule, NF_CT_STATE_BIT(IP_CT_ESTABLISHED));
        verdict(&rule, NFT_GOTO, "replies");
    }
    inbound_arrivals(batch);
}

void chain_inbound_closed(struct batch *batch)
{
    chain_arrivals(batch, NULL);
    struct rule rule = rule_begin(batch, "arrivals");
    match_protocol(&rule, IPPROTO_UDP);
    verdict(&rule, NF_DROP, NULL);
    add_inbound(batch);
    inbound_arrivals(batch);
}
