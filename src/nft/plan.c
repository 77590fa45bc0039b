#include "nft/plan.h"

#include "nft/chains.h"
#include "nft/elements.h"
#include "nft/guards.h"
#include "nft/kept.h"
#include "nft/nft_policy.h"
#include "nft/older.h"
#include "nft/peer_chains.h"
#include "nft/resolver_chains.h"
#include "nft/sets.h"
#include "nft/table.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <stdio.h>
#include <string.h>

/* Deleting an element that ended takes up a place until the end of the transaction, see encode_set() in changes.c. */
#define SET_SLACK 8192

void plan_remove(struct batch *batch)
{
    table_add(batch, 0); /* deleting what is not there would be an error */
    table_delete(batch);
}

static void set_pair(struct batch *batch, const char *stem, uint32_t flags, uint32_t size)
{
    set_of_addresses(batch, stem, AF_INET, flags, size);
    set_of_addresses(batch, stem, AF_INET6, flags, size);
}

static void put_ranges(struct batch *batch, const char *stem, const struct ip_ranges *ranges)
{
    char name[SET_NAME_MAX];
    elements_put_ranges(batch, set_name(stem, AF_INET, name), ranges->v4, ranges->n_v4);
    elements_put_ranges(batch, set_name(stem, AF_INET6, name), ranges->v6, ranges->n_v6);
}

static void put_exempt(struct batch *batch, const struct nft_settings *settings, uint8_t family)
{
    char name[SET_NAME_MAX];
    struct elements elements = {.batch = batch, .type = NFT_MSG_NEWSETELEM, .set = set_name("exempt", family, name)};
    for (size_t i = 0; i < settings->n_exempt; i++)
        if (settings->exempt[i].family == family)
            elements_put(&elements, &(struct element){.key = settings->exempt[i].bytes, .size = ip_size(family)});
    elements_end(&elements);
}

/* No rule looks at them: a later start does, see nft_recall_upstreams(). */
static void put_upstreams(struct batch *batch, const struct nft_settings *settings, uint8_t family)
{
    char name[SET_NAME_MAX], place[40];
    uint8_t key[ENDPOINT_KEY_MAX];
    set_of_endpoints(batch, "upstream", family);
    struct elements elements = {.batch = batch, .type = NFT_MSG_NEWSETELEM, .set = set_name("upstream", family, name)};
    for (size_t i = 0; i < settings->n_upstreams; i++) {
        if (settings->upstreams[i].sa.sa_family != family)
            continue;
        uint32_t zone = family == AF_INET6 ? settings->upstreams[i].in6.sin6_scope_id : 0;
        snprintf(place, sizeof(place), zone ? "%zu%%%u" : "%zu", i, zone);
        size_t size = endpoint_key(&settings->upstreams[i], key);
        elements_put(&elements, &(struct element){.key = key, .size = size, .comment = place});
    }
    elements_end(&elements);
}

static void put_note(struct elements *elements, uint16_t number, const char *text)
{
    uint16_t key = htons(number);
    elements_put(elements, &(struct element){.key = &key, .size = sizeof(key), .comment = text});
}

/* Nor at these, see nft_recall_search(). */
static void put_search(struct batch *batch, const struct search_text *search)
{
    struct elements elements = {.batch = batch, .type = NFT_MSG_NEWSETELEM, .set = PLAN_SEARCH_SET};
    char ndots[32];
    set_of_numbers(batch, PLAN_SEARCH_SET);
    for (size_t i = 0; i < search->n; i++)
        put_note(&elements, (uint16_t)i, search->names[i]);
    snprintf(ndots, sizeof(ndots), PLAN_NDOTS "%u", search->ndots);
    put_note(&elements, SEARCH_TEXT_NAMES, ndots);
    elements_end(&elements);
}

static bool has_ranges(const struct nft_settings *settings, const struct nft_policy *policy)
{
    size_t n = settings->doh_blocklist.n_v4 + settings->doh_blocklist.n_v6;
    for (size_t i = 0; i < NFT_POLICY_SETS; i++)
        n += nft_policy_ranges(policy, i)->n_v4 + nft_policy_ranges(policy, i)->n_v6;
    return n > 0;
}

void plan_open(struct batch *batch)
{
    chain_open_gate(batch);
}

static bool any_on_loopback(const struct nft_settings *settings)
{
    for (size_t i = 0; i < settings->n_upstreams; i++) {
        struct ip_addr addr = sock_addr_ip(&settings->upstreams[i]);
        if (ip_is_loopback(&addr))
            return true;
    }
    return false;
}

bool plan_install(struct batch *batch, const struct nft_settings *settings, const struct nft_policy *policy,
                  unsigned lacks)
{
    plan_remove(batch);
    table_add(batch, 0);
    if (settings->n_exempt) {
        set_pair(batch, "exempt", 0, 0);
        put_exempt(batch, settings, AF_INET);
        put_exempt(batch, settings, AF_INET6);
    }
    if (settings->n_upstreams) {
        put_upstreams(batch, settings, AF_INET);
        put_upstreams(batch, settings, AF_INET6);
    }
    if (settings->search)
        put_search(batch, settings->search);
    if (settings->kept)
        kept_declare(batch, settings->kept);
    bool zones = !(lacks & LACKS_ZONES);
    if (zones)
        chain_own(batch, settings);
    chain_dns(batch, settings);
    if (!settings->audit)
        chain_forged(batch, zones || !any_on_loopback(settings), lacks);
    chain_leaving(batch, settings);
    if (!settings->filter && !settings->audit)
        chain_unredirected(batch, settings);
    if (!settings->filter)
        return false;
    for (size_t i = 0; i < NFT_POLICY_SETS; i++) {
        set_pair(batch, nft_policy_stem(i), NFT_SET_INTERVAL, 0);
        put_ranges(batch, nft_policy_stem(i), nft_policy_ranges(policy, i));
    }
    if (settings->doh_blocklist.n_v4 || settings->doh_blocklist.n_v6) {
        set_pair(batch, "doh_block", NFT_SET_INTERVAL, 0);
        put_ranges(batch, "doh_block", &settings->doh_blocklist);
    }
    uint32_t size = settings->max_addresses + SET_SLACK;
    set_pair(batch, "dyn_allow", NFT_SET_TIMEOUT | NFT_SET_EVAL, size);
    set_pair(batch, "revoked", NFT_SET_TIMEOUT | NFT_SET_EVAL, size);
    peers_declare(batch, settings);
    bool gated = has_ranges(settings, policy);
    chain_egress(batch, settings, policy->default_allow, gated);
    if (settings->audit)
        return gated;
    chain_forward(batch);
    older_declare(batch);
    chain_inbound(batch, settings, zones);
    return gated;
}

/* Ranges of one family, in ascending order. */
struct list {
    const struct ip_range *ranges;
    size_t n;
};

/* Puts those ranges that are not among `others`, or only counts them (NULL). */
static size_t put_others(struct elements *elements, struct list list, struct list others)
{
    size_t n = 0, at = 0;
    for (size_t i = 0; i < list.n; i++) {
        while (at < others.n && ip_compare(&others.ranges[at].first, &list.ranges[i].first) < 0)
            at++;
        if (at < others.n && memcmp(&others.ranges[at], &list.ranges[i], sizeof(list.ranges[i])) == 0)
            continue;
        if (elements)
            elements_put_range(elements, &list.ranges[i]);
        n++;
    }
    return n;
}

static void change_ranges(struct batch *batch, const char *name, struct list before, struct list after)
{
    struct elements elements = {.batch = batch, .set = name, .type = NFT_MSG_DELSETELEM};
    put_others(&elements, before, after);
    elements_end(&elements);
    elements.type = NFT_MSG_NEWSETELEM;
    put_others(&elements, after, before);
    elements_end(&elements);
}

static void replace_ranges(struct batch *batch, const char *stem, uint8_t family, struct list before, struct list after,
                           bool whole)
{
    size_t n_changes = put_others(NULL, before, after) + put_others(NULL, after, before);
    char name[SET_NAME_MAX];
    set_name(stem, family, name);
    if (!whole && n_changes <= after.n) { /* with more, all of them are the smaller transaction */
        change_ranges(batch, name, before, after);
        return;
    }
    elements_delete_all(batch, name);
    elements_put_ranges(batch, name, after.ranges, after.n);
}

void plan_policy(struct batch *batch, const struct nft_settings *settings, const struct nft_policy *before,
                 const struct nft_policy *after, bool whole)
{
    for (size_t i = 0; i < NFT_POLICY_SETS; i++) {
        const struct ip_ranges *old = nft_policy_ranges(before, i), *new = nft_policy_ranges(after, i);
        replace_ranges(batch, nft_policy_stem(i), AF_INET, (struct list){old->v4, old->n_v4},
                       (struct list){new->v4, new->n_v4}, whole);
        replace_ranges(batch, nft_policy_stem(i), AF_INET6, (struct list){old->v6, old->n_v6},
                       (struct list){new->v6, new->n_v6}, whole);
    }
    if (before->default_allow != after->default_allow)
        chain_set_default(batch, settings, after->default_allow);
    else
        table_set_policy(batch, "egress", chain_policy(settings, after->default_allow)); /* as it is */
}

void plan_shut(struct batch *batch)
{
    table_add(batch, NLM_F_EXCL);
    chain_egress_shut(batch);
    chain_forward(batch);
}

void plan_closed(struct batch *batch, unsigned lacks)
{
    static const struct nft_settings nobody = {0};
    table_add(batch, NLM_F_EXCL);
    chain_egress_closed(batch, lacks & LACKS_REJECT);
    chain_forged(batch, false, lacks);
    chain_forward(batch);
    chain_inbound_closed(batch);
    chain_leaving(batch, &nobody);
}
