#include "nft/packet.h"

#include "base/wire.h"

#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <string.h>

#define IPV4_FRAGMENT_OFFSET 0x1fff
#define IPV6_FRAGMENT_OFFSET 0xfff8
#define EXTENSIONS_MAX 8

static bool has_ports(uint8_t protocol)
{
    return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_SCTP || protocol == IPPROTO_DCCP ||
           protocol == IPPROTO_UDPLITE;
}

/* Reads the destination port, which follows the source port. */
static void read_port(struct wire *wire, struct peer *peer)
{
    if (wire->failed || !has_ports(peer->protocol))
        return;
    wire_u16(wire);
    peer->port = wire_u16(wire);
}

static void read_v4(struct wire *wire, struct peer *peer)
{
    struct iphdr header;
    const uint8_t *bytes = wire_take(wire, sizeof(header));
    if (!bytes)
        return;
    memcpy(&header, bytes, sizeof(header));
    peer->addr = ip_from_v4(&header.daddr);
    peer->protocol = header.protocol;
    struct wire rest = *wire;
    wire_take(&rest, header.ihl > 5 ? (header.ihl - 5) * 4u : 0);
    if (!(wire_load16((const uint8_t *)&header.frag_off) & IPV4_FRAGMENT_OFFSET))
        read_port(&rest, peer);
}

/* Passes over the extension header that `peer->protocol` says comes next (RFC 8200 section 4). False when there is
 * none, or nothing to be read behind it. */
static bool skip_extension(struct wire *wire, struct peer *peer)
{
    uint8_t kind = peer->protocol;
    if (kind != IPPROTO_HOPOPTS && kind != IPPROTO_ROUTING && kind != IPPROTO_DSTOPTS && kind != IPPROTO_FRAGMENT &&
        kind != IPPROTO_AH)
        return false;
    uint8_t next = wire_u8(wire), size = wire_u8(wire);
    uint16_t offset = wire_u16(wire);
    if (kind == IPPROTO_FRAGMENT)
        wire_take(wire, 4);
    else if (kind == IPPROTO_AH)
        wire_take(wire, (size + 2u) * 4 - 4); /* RFC 4302 section 2.2 */
    else
        wire_take(wire, (size + 1u) * 8 - 4);
    if (wire->failed)
        return false;
    peer->protocol = next;
    wire->failed = kind == IPPROTO_FRAGMENT && (offset & IPV6_FRAGMENT_OFFSET);
    return !wire->failed;
}

static void read_v6(struct wire *wire, struct peer *peer)
{
    struct ip6_hdr header;
    const uint8_t *bytes = wire_take(wire, sizeof(header));
    if (!bytes)
        return;
    memcpy(&header, bytes, sizeof(header));
    peer->addr = ip_from_v6(&header.ip6_dst);
    peer->protocol = header.ip6_nxt;
    struct wire rest = *wire;
    for (int i = 0; i < EXTENSIONS_MAX && skip_extension(&rest, peer); i++)
        ;
    read_port(&rest, peer);
}

bool peer_from_packet(const void *packet, size_t len, struct peer *ret)
{
    const uint8_t *bytes = packet;
    struct wire wire = wire_init(bytes, len);
    struct peer peer = {0};
    uint8_t version = len ? bytes[0] >> 4 : 0;
    if (version == 4)
        read_v4(&wire, &peer);
    else if (version == 6)
        read_v6(&wire, &peer);
    if (!peer.addr.family)
        return false;
    *ret = peer;
    return true;
}
