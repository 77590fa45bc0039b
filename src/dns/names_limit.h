/* How many names may be asked for below one wildcard in a minute: what keeps a tunnel, whose every query is a name of
 * its own, from being a fast one. Names that were let through within the last hour are known, and pass whatever else
 * is asked. A rule below which more new names than the limit were asked for passes no other new one in that minute, and
 * none in the next: whoever goes on asking is let in again when a minute passed with no more than the limit.
 *
 * A rule of one name has no limit. The rule for every name, and a default that allows, have one for each registered
 * domain (publicsuffix.org).
 *
 * Memory is fixed (544 kB, taken up as it fills), nothing is allocated after the start. Rules are counted in cells that
 * several may share, two cells each, of which the smaller counts: it may be too much, never too little, and nobody can
 * make another rule's names forgotten. Known names are NAMES_KNOWN; beyond that the one that was asked for least lately
 * becomes new again. Where a name or a rule falls only the key tells. Pure: no clock, no I/O. */
#ifndef DNS_NAMES_LIMIT_H
#define DNS_NAMES_LIMIT_H

#include "base/keyed_hash.h"
#include "policy/policy.h"

#define NAMES_KNOWN 65536
#define NAMES_KNOWN_MINUTES 60
#define NAMES_PER_MINUTE_MAX 1000000

struct names_limit;

/* `per_minute` is 1 to NAMES_PER_MINUTE_MAX; `key` is random. 0 or -ENOMEM. */
int names_limit_new(unsigned per_minute, const struct hash_key *key, struct names_limit **ret);
void names_limit_free(struct names_limit *limit);
/* Whether the name, which `rule` (NULL: the default) allows, may be asked for; counts it. `wire` is a well-formed
 * lower-case name. */
bool names_limit_take(struct names_limit *limit, const struct rule *rule, const uint8_t *wire, size_t len,
                      uint64_t now_ns);

#endif
