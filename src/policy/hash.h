/* The hash of policy's tables: a seeded chain of 64 x 64 -> 128 bit multiplications, folded. Not for anything secret.
 */
#ifndef POLICY_HASH_H
#define POLICY_HASH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/random.h>

/* Drawn anew for every table, so that whoever may write rules cannot pile them up in one place of it. A table without
 * randomness is as correct as one with it, hence no error. */
static inline uint64_t hash_seed(void)
{
    uint64_t seed = 0;
    return getrandom(&seed, sizeof(seed), GRND_NONBLOCK) == sizeof(seed) ? seed : 0;
}

static inline uint64_t hash_mix(uint64_t a, uint64_t b)
{
    unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* Up to eight bytes as one number, without reading past them. */
static inline uint64_t hash_load(const uint8_t *data, size_t len)
{
    if (len >= 4) {
        uint32_t head, tail;
        memcpy(&head, data, 4);
        memcpy(&tail, data + len - 4, 4);
        return head | (uint64_t)tail << 32;
    }
    return len ? data[0] | (uint64_t)data[len / 2] << 8 | (uint64_t)data[len - 1] << 16 : 0;
}

/* Continues `hash` (or a seed) with `data`. */
static inline uint64_t hash_bytes(uint64_t hash, const void *data, size_t len)
{
    const uint8_t *bytes = data;
    for (; len > 8; bytes += 8, len -= 8)
        hash = hash_mix(hash ^ hash_load(bytes, 8), 0x9e3779b97f4a7c15u);
    return hash_mix(hash ^ hash_load(bytes, len), 0xd1342543de82ef95u ^ len);
}

#endif
