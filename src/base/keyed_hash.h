/* SipHash-2-4 (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012): a hash that nobody without the key can
 * make collide, for tables of what strangers choose. Pure. */
#ifndef BASE_KEYED_HASH_H
#define BASE_KEYED_HASH_H

#include <stddef.h>
#include <stdint.h>

struct hash_key {
    uint64_t words[2];
};

uint64_t keyed_hash(const struct hash_key *key, const uint8_t *data, size_t len);

#endif
