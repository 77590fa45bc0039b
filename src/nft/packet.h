/* Where an IP packet goes, from its first bytes. Pure. */
#ifndef NFT_PACKET_H
#define NFT_PACKET_H

#include "base/ip.h"

struct peer {
    struct ip_addr addr;
    uint8_t protocol; /* IPPROTO_*; of an IPv6 extension header when what follows it is not there */
    uint16_t port;    /* of TCP, UDP and protocols that have it in the same place; 0: none, or not there */
};

/* False when `len` bytes from the IP header on do not hold an address. */
bool peer_from_packet(const void *packet, size_t len, struct peer *ret);

#endif
