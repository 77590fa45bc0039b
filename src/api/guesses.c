#include "api/guesses.h"

#include "base/ip.h"
#include "base/loop.h"

#define NETWORK_V6 8 /* octets: whoever has an address has a network of them (RFC 6177) */

struct guess_source *guesses_source(struct guesses *guesses, enum connection_side side, const struct sockaddr *peer)
{
    if (side != CONNECTION_OUTSIDE)
        return side == CONNECTION_LOCAL ? &guesses->local : &guesses->inside;
    struct ip_addr ip = connection_peer_ip(peer);
    size_t len = ip.family == AF_INET ? 4 : NETWORK_V6;
    return &guesses->outside[keyed_hash(&guesses->key, ip.bytes, len) % GUESSES_OUTSIDE];
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
