/* The answer cache: answers that may be given again without asking, for as long as their TTLs say. Pure: bytes and a
 * `now` go in, decisions come out; whether policy and kernel still allow an answer is the caller's business.
 *
 * Bounded twice, by answers and by bytes (CACHE_BYTES_PER_ANSWER for each on average); memory is touched only as far as
 * it was ever needed, and nothing is allocated once it exists. What goes first when it is full is decided by SIEVE
 * (Zhang et al., NSDI 2024): a hand walks from the oldest answer to the newest, spares those that were asked for since
 * it came by last, and takes the first that was not. New answers stand before the hand, so a flood of names that nobody
 * asks for twice replaces itself and leaves alone what was asked for again. */
#ifndef DNS_CACHE_H
#define DNS_CACHE_H

#include "dns/ttls.h"

#define CACHE_ENTRIES_MAX 262144
#define CACHE_BYTES_PER_ANSWER 384
#define CACHE_ANSWER_MAX 4096 /* longer ones are not kept */

/* Room for an answer taken out. */
#define CACHE_ROOM (CACHE_ANSWER_MAX + 2 * TTLS_MAX)

struct cache;

/* The question, and in which way it is asked: the flags that an upstream sees (RD, AD, CD), the presence of EDNS and
 * its DO bit. Each way has an answer of its own. */
struct cache_key {
    uint64_t hash;    /* of name and type */
    uint32_t variant; /* the way */
};

/* `entries`: 1 to CACHE_ENTRIES_MAX. 0 or -ENOMEM. */
int cache_new(size_t entries, struct cache **ret);
void cache_free(struct cache *cache);
/* `seed` makes collisions unpredictable. `query` is a client's, scanned. */
struct cache_key cache_key(uint64_t seed, const uint8_t *query, const struct dns_question *question,
                           const struct dns_edns *edns);
/* The answer kept for the question, with its TTLs counted down to `now_ns`, AA cleared, and the addresses that it leads
 * to (dns_found_max(CACHE_ANSWER_MAX) at most). Id and spelling of the name are the caller's to write. Returns its
 * length, 0 when there is none. `ret_msg` has CACHE_ROOM bytes, written to in any case. */
size_t cache_get(struct cache *cache, const struct cache_key *key, const struct dns_question *question, uint64_t now_ns,
                 uint8_t *ret_msg, struct dns_found *ret_found, size_t *ret_n);
/* Keeps an answer in place of an earlier one. `ttls` comes from ttls_scan(). */
void cache_put(struct cache *cache, const struct cache_key *key, const struct dns_question *question,
               const uint8_t *msg, size_t len, const struct ttls *ttls, uint64_t now_ns);
void cache_clear(struct cache *cache);
size_t cache_count(const struct cache *cache);

#endif
