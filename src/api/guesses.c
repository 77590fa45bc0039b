#include "api/guesses.h"

#include "base/ip.h"
#include "base/loop.h"

#include <string.h>

#define NETWORK_V6 8 /* octets: whoever has an address has a network of them (RFC 6177) */
#define MAPPED 12    /* octets of ::ffff:0:0/96, in front of the IPv4 address of a client of the listener for both */

struct guess_source *guesses_source(struct guesses *guesses, enum connection_side side, const struct sockaddr *peer)
{
    uint8_t bytes[16] = {0};
    size_t len = 4;
    if (side != CONNECTION_OUTSIDE)
        return side == CONNECTION_LOCAL ? &guesses->local : &guesses->inside;
    if (peer->sa_family == AF_INET) {
        memcpy(bytes, &((const struct sockaddr_in *)peer)->sin_addr, len);
    } else {
        const struct in6_addr *addr = &((const struct sockaddr_in6 *)peer)->sin6_addr;
        bool mapped = IN6_IS_ADDR_V4MAPPED(addr);
        len = mapped ? 4 : NETWORK_V6;
        memcpy(bytes, addr->s6_addr + (mapped ? MAPPED : 0), len);
    }
    return &guesses->outside[keyed_hash(&guesses->key, bytes, len) % GUESSES_OUTSIDE];
}

bool guesses_left(const struct guess_source *source, uint64_t now_ns)
{
    return now_ns >= source->until_ns || source->n < GUESSES_PER_SECOND;
}

void guesses_wrong(struct guess_source *source, uint64_t now_ns)
{
    if (now_ns >= source->until_ns)
        *source = (struct guess_source){.until_ns = now_ns + NS_PER_S};
    source->n++;
}
