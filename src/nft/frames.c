#include "nft/frames.h"

#include "base/ip.h"
#include "nft/frame_expr.h"
#include "nft/table.h"

#include <linux/netfilter.h>
#include <stdio.h>

#ifndef NF_NETDEV_EGRESS
#define NF_NETDEV_EGRESS 1 /* linux/netfilter.h since 5.16 */
#endif

/* RFC 2131 section 4.1: a client without an address has to make its packets itself. IPv4 without options, UDP, from
 * port 68 to port 67. */
static void rule_for_dhcp(struct batch *batch)
{
    static const uint8_t head[] = {0x08, 0x00, 0x45}, protocol = IPPROTO_UDP, ports[] = {0, 68, 0, 67};
    struct rule rule = rule_begin(batch, "frames");
    match_frame(&rule, 12, NFT_CMP_EQ, head, sizeof(head));
    match_frame(&rule, 14 + 9, NFT_CMP_EQ, &protocol, sizeof(protocol));
    match_frame(&rule, 14 + 20, NFT_CMP_EQ, ports, sizeof(ports));
    verdict(&rule, NF_ACCEPT, NULL);
}

/* Addresses are asked for by frames that no route leads. Ethernet and IPv4 (RFC 826), of the size that the kernel
 * sends, and by the kernel: a process would have twenty octets of its own in each. All of it is read from the frame
 * itself: what a packet socket says of its protocol is not to be believed. */
static void rule_for_arp(struct batch *batch)
{
    static const uint8_t head[] = {0x08, 0x06, 0, 1, 0x08,
                                   0,    6,    4, 0}; /* type of the frame; kinds and sizes of addresses */
    struct rule rule = rule_begin(batch, "frames");
    match_frame_length(&rule, 14 + 28);
    match_frame(&rule, 12, NFT_CMP_EQ, head, sizeof(head));
    match_frame(&rule, 12 + sizeof(head), NFT_CMP_LTE, (const uint8_t[]){2}, 1); /* request or reply */
    verdict(&rule, NF_ACCEPT, NULL);
}

/* The stamp of a packet that the rules have seen is its route: only the IP stack attaches one, before the output
 * chains, and no socket option can. It stays with the packet through VLAN and bridge devices down to the last one.
 * Neighbour discovery has one, too. What is routed for others has one as well; the chain `forward` drops it. */
static void chain_frames(struct batch *batch, bool dhcp)
{
    table_add_chain(batch, "frames");
    struct rule rule = rule_begin(batch, "frames");
    match_routed(&rule);
    verdict(&rule, NF_ACCEPT, NULL);
    if (dhcp)
        rule_for_dhcp(batch);
    rule = rule_begin(batch, "frames");
    match_has_user(&rule);
    rule_tallies(&rule);
    verdict(&rule, NF_DROP, NULL);
    rule_for_arp(batch);
    rule = rule_begin(batch, "frames");
    rule_tallies(&rule);
    verdict(&rule, NF_DROP, NULL);
}

void frames_remove(struct batch *batch)
{
    batch_set_family(batch, NFPROTO_NETDEV);
    table_add(batch, 0);
    table_delete(batch);
    batch_set_family(batch, NFPROTO_INET);
}

/* Policy accept: between the declaration of a chain and the end of its transaction it has no rules, and the table that
 * is replaced still does its work. */
void frames_plan(struct batch *batch, const struct if_nameindex *devices, bool dhcp)
{
    struct table_hook hook = {.type = "filter", .number = NF_NETDEV_EGRESS, .policy = NF_ACCEPT};
    frames_remove(batch);
    batch_set_family(batch, NFPROTO_NETDEV);
    table_add(batch, 0);
    chain_frames(batch, dhcp);
    for (; devices->if_name; devices++) {
        char name[32];
        if (devices->if_index == LOOPBACK_INDEX)
            continue;
        snprintf(name, sizeof(name), "device_%u", devices->if_index);
        hook.device = devices->if_name;
        table_add_base_chain(batch, name, &hook);
        struct rule rule = rule_begin(batch, name);
        verdict(&rule, NFT_GOTO, "frames");
    }
    batch_set_family(batch, NFPROTO_INET);
}
