#include "dns/shares.h"

#include <string.h>

/* Fibonacci hashing. Where a source falls may be known: whoever chooses another's slot gets no more than its part. */
static unsigned slot_of(const struct sock_addr *source)
{
    uint64_t words[2] = {0};
    if (source->sa.sa_family == AF_INET) {
        words[0] = (uint64_t)source->in.sin_addr.s_addr << 16 | source->in.sin_port;
    } else {
        memcpy(words, &source->in6.sin6_addr, sizeof(words));
        words[0] ^= source->in6.sin6_port;
    }
    uint64_t mixed = (words[0] ^ words[1] * 0xff51afd7ed558ccdull) * 0x9e3779b97f4a7c15ull;
    return (unsigned)(mixed >> 56);
}

/* Datagrams, after which all that was seen counts half. */
#define REMEMBERED 4096

_Static_assert(SHARES_SLOTS == 256, "slot_of() gives eight bits");

void shares_begin(struct shares *shares, uint8_t part)
{
    memset(shares->taken, 0, sizeof(shares->taken));
    shares->part = part;
}

unsigned shares_see(struct shares *shares, const struct sock_addr *source)
{
    unsigned slot = slot_of(source);
    shares->seen[slot]++;
    if (++shares->n_seen < REMEMBERED)
        return slot;
    for (unsigned i = 0; i < SHARES_SLOTS; i++)
        shares->seen[i] /= 2;
    shares->n_seen /= 2;
    return slot;
}

bool shares_take(struct shares *shares, unsigned slot)
{
    if (shares->taken[slot] >= shares->part)
        return shares->part > 1 && shares->seen[slot] * SHARES_LITTLE < shares->n_seen;
    shares->taken[slot]++;
    return true;
}
