#include "nft/peer_chains.h"

#include "nft/counter.h"
#include "nft/peer_expr.h"
#include "nft/sets.h"
#include "nft/table.h"

#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_common.h>

const char *const peer_counters[PEER_COUNTERS] = {"peers_allowed", "peers_denied", "peers_suppressed"};
const char opened_counter[] = "opened";
const char *const peer_sets[2] = {"peers_allowed", "peers_denied"};
static const uint16_t groups[2] = {PEER_GROUP_ALLOWED, PEER_GROUP_DENIED};
static const uint8_t families[] = {AF_INET, AF_INET6};

void peers_declare(struct batch *batch, const struct nft_settings *settings)
{
    if (!settings->log_peers)
        return;
    for (size_t i = 0; i < PEER_COUNTERS; i++)
        counter_declare(batch, peer_counters[i]);
    counter_declare(batch, opened_counter);
    for (size_t i = 0; i < 2; i++)
        for (size_t f = 0; f < 2; f++)
            set_of_peers(batch, peer_sets[i], families[f], PEER_MEMORY_MAX);
}

void count_opened(struct batch *batch, const struct nft_settings *settings)
{
    if (!settings->log_peers)
        return;
    struct rule rule = rule_begin(batch, "egress");
    match_ct_state(&rule, NF_CT_STATE_BIT(IP_CT_NEW) | NF_CT_STATE_BIT(IP_CT_RELATED));
    rule_counts(&rule, opened_counter);
    rule_append(&rule);
}

static void return_learned(struct batch *batch, const char *chain)
{
    char name[SET_NAME_MAX];
    for (size_t f = 0; f < 2; f++) {
        struct rule rule = rule_begin(batch, chain);
        match_destination_in(&rule, families[f], set_name("dyn_allow", families[f], name));
        verdict(&rule, NFT_RETURN, NULL);
    }
}

static void log_peers(struct batch *batch, enum peer_counter which)
{
    const char *chain = peer_sets[which];
    char name[SET_NAME_MAX];
    table_add_chain(batch, chain);
    if (which == PEERS_ALLOWED)
        return_learned(batch, chain);
    struct rule rule = rule_begin(batch, chain);
    rule_counts(&rule, peer_counters[which]);
    rule_append(&rule);
    for (size_t f = 0; f < 2; f++) {
        rule = rule_begin(batch, chain);
        match_peer_in(&rule, families[f], set_name(peer_sets[which], families[f], name));
        verdict(&rule, NFT_RETURN, NULL);
    }
    rule = rule_begin(batch, chain);
    match_beyond_rate(&rule, PEER_LOG_PER_S, PEER_LOG_BURST);
    rule_counts(&rule, peer_counters[PEERS_SUPPRESSED]);
    verdict(&rule, NFT_RETURN, NULL);
    rule = rule_begin(batch, chain);
    rule_logs(&rule, groups[which], PEER_PACKET_LEN);
    for (size_t f = 0; f < 2; f++) {
        rule = rule_begin(batch, chain);
        rule_remembers_peer(&rule, families[f], set_name(peer_sets[which], families[f], name),
                            PEER_MEMORY_S * MS_PER_S);
    }
}

void plan_peers_trial(struct batch *batch)
{
    static const struct nft_settings settings = {.log_peers = true};
    table_add(batch, 0);
    peers_declare(batch, &settings);
    log_peers(batch, PEERS_DENIED);
    table_add(batch, NLM_F_EXCL);
}

void chain_direct(struct batch *batch, const struct nft_settings *settings)
{
    struct rule rule;
    if (settings->log_peers)
        log_peers(batch, PEERS_ALLOWED);
    table_add_chain(batch, "direct");
    if (settings->log_peers) {
        rule = rule_begin(batch, "direct");
        match_ct_state(&rule, NF_CT_STATE_BIT(IP_CT_NEW));
        match_first_packet(&rule);
        verdict(&rule, NFT_JUMP, peer_sets[PEERS_ALLOWED]);
    }
    rule = rule_begin(batch, "direct");
    verdict(&rule, NF_ACCEPT, NULL);
}

void chain_denied(struct batch *batch, const struct nft_settings *settings)
{
    struct rule rule;
    if (settings->log_peers)
        log_peers(batch, PEERS_DENIED);
    table_add_chain(batch, "denied");
    if (settings->log_peers) {
        rule = rule_begin(batch, "denied"); /* a datagram flow that passed before, too */
        match_ct_state(&rule, NF_CT_STATE_BIT(IP_CT_NEW));
        if (settings->audit) /* it goes on, and its later packets are no attempts of their own */
            match_first_packet(&rule);
        verdict(&rule, NFT_JUMP, peer_sets[PEERS_DENIED]);
    }
    rule = rule_begin(batch, "denied");
    verdict(&rule, NFT_GOTO, "refuse");
}
