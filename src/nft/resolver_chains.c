#include "nft/resolver_chains.h"

#include "nft/ports.h"
#include "nft/sets.h"
#include "nft/table.h"
#include "nft/way_expr.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>

/* Before -100, where container runtimes redirect DNS to their own resolver. */
#define PRIORITY_OWN (-300) /* before conntrack looks, at -200 */
#define PRIORITY_DNS (-110)
#define OWN_PORTS_MAX (1 + NFT_UPSTREAMS_MAX + NFT_OWN_PORTS_MAX)

static const uint8_t families[] = {AF_INET, AF_INET6};

/* A rule for packets to one of these TCP or UDP ports. */
static struct rule rule_to_ports(struct batch *batch, const char *chain, const uint16_t *ports, size_t n)
{
    static const uint8_t transports[] = {IPPROTO_TCP, IPPROTO_UDP};
    uint16_t wire[OWN_PORTS_MAX];
    for (size_t i = 0; i < n; i++)
        wire[i] = htons(ports[i]);
    uint32_t protocol_set = anonymous_set(batch, KEY_PROTOCOL, transports, 2);
    uint32_t port_set = n > 1 ? anonymous_set(batch, KEY_PORT, wire, n) : 0;
    struct rule rule = rule_begin(batch, chain);
    match_protocol_in(&rule, protocol_set);
    if (port_set)
        match_destination_port_in(&rule, port_set);
    else
        match_destination_port(&rule, ports[0]);
    return rule;
}

struct rule rule_to_port(struct batch *batch, const char *chain, uint16_t port)
{
    return rule_to_ports(batch, chain, &port, 1);
}

bool resolver_is_exempt(const struct nft_settings *settings, const struct ip_addr *addr)
{
    for (size_t i = 0; i < settings->n_exempt; i++)
        if (ip_equal(&settings->exempt[i], addr))
            return true;
    return false;
}

void accept_exempt_dns(struct batch *batch, const char *chain, const struct nft_settings *settings)
{
    char name[SET_NAME_MAX];
    for (size_t i = 0; i < 2 && settings->n_exempt; i++) {
        struct rule rule = rule_to_port(batch, chain, PORT_DNS);
        match_destination_in(&rule, families[i], set_name("exempt", families[i], name));
        verdict(&rule, NF_ACCEPT, NULL);
    }
}

/* The kernel remembers a question for 30 s and more, longer than its socket lives. Were the sidecar's and the
 * application's in one zone, a client that gets a port which the sidecar used would pass around the redirect, and a
 * question of the sidecar on a port that a client used would be redirected to itself. Only the direction of the
 * question has the zone, so an answer is found without one. */
void chain_own(struct batch *batch, const struct nft_settings *settings)
{
    table_add_output_chain(batch, "own", "filter", PRIORITY_OWN, NF_ACCEPT);
    struct rule rule = rule_begin(batch, "own");
    match_own(&rule, settings);
    rule_sets_zone(&rule, OWN_ZONE);
}

void chain_dns(struct batch *batch, const struct nft_settings *settings)
{
    table_add_output_chain(batch, "dns", "nat", PRIORITY_DNS, NF_ACCEPT);
    struct rule rule = rule_begin(batch, "dns");
    match_own(&rule, settings);
    verdict(&rule, NF_ACCEPT, NULL);
    accept_exempt_dns(batch, "dns", settings);
    rule = rule_to_port(batch, "dns", PORT_DNS);
    verdict_redirect(&rule, settings->dns_port);
}

/* Puts it behind the `n` others unless it is among them; returns how many they are then. */
static size_t add_port(uint16_t ports[OWN_PORTS_MAX], size_t n, uint16_t port)
{
    for (size_t i = 0; i < n; i++)
        if (ports[i] == port)
            return n;
    if (n < OWN_PORTS_MAX)
        ports[n++] = port;
    return n;
}

static size_t own_ports(const struct nft_settings *settings, uint16_t ports[OWN_PORTS_MAX])
{
    size_t n = add_port(ports, 0, PORT_DNS);
    for (size_t i = 0; i < settings->n_upstreams; i++)
        n = add_port(ports, n, sock_addr_port(&settings->upstreams[i]));
    for (size_t i = 0; i < settings->n_own_ports; i++)
        n = add_port(ports, n, settings->own_ports[i]);
    return n;
}

void egress_resolvers(struct batch *batch, const struct nft_settings *settings)
{
    static const uint16_t resolver_ports[] = {PORT_DNS, PORT_DOT};
    uint16_t ports[OWN_PORTS_MAX];
    size_t n = own_ports(settings, ports);
    struct rule rule = rule_to_ports(batch, "egress", ports, n);
    match_own(&rule, settings);
    verdict(&rule, NF_ACCEPT, NULL);
    accept_exempt_dns(batch, "egress", settings);
    for (size_t i = 0; i < settings->n_upstreams; i++) {
        struct ip_addr addr = sock_addr_ip(&settings->upstreams[i]);
        uint16_t port = sock_addr_port(&settings->upstreams[i]);
        if (port == PORT_DNS || !resolver_is_exempt(settings, &addr))
            continue;
        rule = rule_to_port(batch, "egress", port); /* the sidecar asks exempt upstreams without its mark */
        match_destination(&rule, &addr);
        verdict(&rule, NF_ACCEPT, NULL);
    }
    /* Port 53 is redirected before it gets here, but for flows that are older than the redirect. */
    rule = rule_to_ports(batch, "egress", resolver_ports, 2);
    verdict(&rule, NFT_GOTO, "denied");
}

void egress_doh(struct batch *batch, const struct nft_settings *settings)
{
    bool listed = settings->doh_blocklist.n_v4 || settings->doh_blocklist.n_v6;
    char name[SET_NAME_MAX];
    for (size_t i = 0; i < (listed ? 2 : 1); i++) {
        struct rule rule = rule_to_port(batch, "egress", PORT_HTTPS);
        if (listed)
            match_destination_in(&rule, families[i], set_name("doh_block", families[i], name));
        verdict(&rule, NFT_GOTO, "denied");
    }
    for (size_t i = 0; i < IP_EMBEDDINGS && listed; i++) {
        struct rule rule = rule_to_port(batch, "egress", PORT_HTTPS);
        match_embedded_in(&rule, PACKET_DESTINATION, &ip_embeddings[i], set_name("doh_block", AF_INET, name));
        verdict(&rule, NFT_GOTO, "denied");
    }
}
