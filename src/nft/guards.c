#include "nft/guards.h"

#include "nft/expr.h"
#include "nft/sets.h"
#include "nft/table.h"
#include "nft/way_expr.h"

#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <stdint.h>

#define PRIORITY_FORGED                                                                                                \
    (-310) /* before conntrack, which would take a forged packet for a connection, and defragmentation */
#define PRIORITY_FILTER 0

static const uint8_t families[] = {AF_INET, AF_INET6};

void drop_forged(struct batch *batch, const char *chain, bool from_loopback)
{
    for (size_t i = 0; i < 2; i++) {
        struct rule rule = rule_begin(batch, chain);
        if (from_loopback)
            match_from_loopback(&rule);
        match_foreign_source(&rule, families[i]);
        match_ct_other_state(&rule, NF_CT_STATE_BIT(IP_CT_RELATED));
        verdict(&rule, NF_DROP, NULL);
    }
}

void chain_forged(struct batch *batch)
{
    struct table_hook hook = {
        .type = "filter", .number = NF_INET_PRE_ROUTING, .priority = PRIORITY_FORGED, .policy = NF_ACCEPT};
    table_add_base_chain(batch, "forged", &hook);
    /* On loopback packets keep the connection that they got when they were sent. Answers to redirected questions have
     * the address that was asked by now; a forged packet belongs to no redirected connection. */
    struct rule rule = rule_begin(batch, "forged");
    match_from_loopback(&rule);
    match_ct_redirected(&rule);
    verdict(&rule, NF_ACCEPT, NULL);
    drop_forged(batch, "forged", true);
}

/* Behind the routing, which only here is known: a redirected packet was on its way to another device before. */
void chain_leaving(struct batch *batch, uint32_t mark, bool audit)
{
    struct table_hook hook = {
        .type = "filter", .number = NF_INET_POST_ROUTING, .priority = PRIORITY_FILTER, .policy = NF_ACCEPT};
    table_add_base_chain(batch, "leaving", &hook);
    if (mark) {
        struct rule rule = rule_begin(batch, "leaving");
        match_mark(&rule, NFT_CMP_EQ, mark);
        rule_sets_mark(&rule, 0);
    }
    for (size_t i = 0; i < 2 && !audit; i++) {
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

void chain_inbound(struct batch *batch, const struct nft_settings *settings)
{
    struct table_hook hook = {
        .type = "filter", .number = NF_INET_LOCAL_IN, .priority = PRIORITY_FILTER, .policy = NF_ACCEPT};
    chain_replies(batch, settings);
    table_add_base_chain(batch, "inbound", &hook);
    /* Whoever opened a connection from outside sends in its original direction. Errors of routers are "related". */
    struct rule rule = rule_begin(batch, "inbound");
    match_ct_reply(&rule);
    match_ct_state(&rule, NF_CT_STATE_BIT(IP_CT_ESTABLISHED));
    verdict(&rule, NFT_GOTO, "replies");
}
