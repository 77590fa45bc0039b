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

_Static_assert(SHARES_SLOTS == 256, "slot_of() gives eight bits");

void shares_begin(struct shares *shares, uint8_t part)
{
    memset(shares->taken, 0, sizeof(shares->taken));
    shares->part = part;
}

bool shares_take(struct shares *shares, const struct sock_addr *source)
{
    uint8_t *taken = &shares->taken[slot_of(source)];
    if (*taken >= shares->part)
        return false;
    ++*taken;
    return true;
}
