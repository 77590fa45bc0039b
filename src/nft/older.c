#include "nft/older.h"

#include "base/loop.h"
#include "nft/elements.h"
#include "nft/expr_build.h"
#include "nft/peer_memory.h"
#include "nft/sets.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <stddef.h>

#define PORTS "older_ports"
#define FLOWS_MAX 65536

static const uint8_t families[] = {AF_INET, AF_INET6};

void older_declare(struct batch *batch)
{
    set_of_ports(batch, PORTS);
    for (size_t f = 0; f < 2; f++)
        set_of_flows(batch, "older", families[f], FLOWS_MAX);
}

/* The far end's address, its port and ours, each in units of four bytes, one after the other as a key has its parts. */
static void load_flow(struct rule *rule, uint8_t family)
{
    uint32_t size = (uint32_t)ip_size(family), words = size / 4;
    match_family(rule, family);
    load_payload(rule, NFT_PAYLOAD_NETWORK_HEADER,
                 family == AF_INET ? offsetof(struct iphdr, saddr) : offsetof(struct ip6_hdr, ip6_src), size,
                 NFT_REG32_00);
    load_payload(rule, NFT_PAYLOAD_TRANSPORT_HEADER, 0, 2, NFT_REG32_00 + words);
    load_payload(rule, NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2, NFT_REG32_00 + words + 1);
}

static void look_up(struct rule *rule, const char *set)
{
    expr_begin(rule, "lookup");
    put_text(rule, NFTNL_EXPR_LOOKUP_SET, set);
    put_u32(rule, NFTNL_EXPR_LOOKUP_SREG, NFT_REG_1); /* the same as NFT_REG32_00 */
}

static void match_older_port(struct rule *rule)
{
    match_protocol(rule, IPPROTO_UDP);
    load_payload(rule, NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2, NFT_REG_1);
    look_up(rule, PORTS);
}

void older_rules(struct batch *batch, const char *chain)
{
    char name[SET_NAME_MAX];
    for (size_t f = 0; f < 2; f++) {
        struct rule rule = rule_begin(batch, chain);
        set_name("older", families[f], name);
        match_protocol(&rule, IPPROTO_UDP);
        load_flow(&rule, families[f]);
        look_up(&rule, name);
        prolong_found(&rule, name, OLDER_S * MS_PER_S);
        verdict(&rule, NF_DROP, NULL);
    }
    for (size_t f = 0; f < 2; f++) {
        struct rule rule = rule_begin(batch, chain);
        match_older_port(&rule);
        load_flow(&rule, families[f]);
        rule_prolongs(&rule, set_name("older", families[f], name), OLDER_S * MS_PER_S); /* adds what is not there */
    }
    struct rule rule = rule_begin(batch, chain); /* of its own: the set may be full */
    match_older_port(&rule);
    verdict(&rule, NF_DROP, NULL);
}

void older_carry(struct conn *conn, struct batch *batch)
{
    char name[SET_NAME_MAX];
    memory_carry(conn, batch, PORTS, sizeof(uint16_t), OLDER_S);
    for (size_t f = 0; f < 2; f++)
        memory_carry(conn, batch, set_name("older", families[f], name), peer_key_size(families[f]), OLDER_S);
}

void older_put_ports(struct batch *batch, const bool ports[UINT16_MAX + 1])
{
    struct elements elements = {.batch = batch, .type = NFT_MSG_NEWSETELEM, .set = PORTS};
    for (uint32_t port = 1; port <= UINT16_MAX; port++) {
        uint16_t key = htons((uint16_t)port);
        if (ports[port])
            elements_put(&elements,
                         &(struct element){.key = &key, .size = sizeof(key), .timeout_ms = OLDER_S * MS_PER_S});
    }
    elements_end(&elements);
}
