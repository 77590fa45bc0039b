/* How long an answer may be kept, and where its TTLs stand, to be counted down. Pure. */
#ifndef DNS_TTLS_H
#define DNS_TTLS_H

#include "dns/answer.h"

#define TTLS_MAX 128 /* records of an answer that is kept */

struct ttls {
    uint32_t life; /* seconds, at least 1 */
    uint16_t n, n_addresses;
    uint16_t at[TTLS_MAX]; /* offsets in the message; those of the addresses come first */
};

/* Whether the answer (to `question`, with these addresses, in the order in which they stand) may be kept at all, and
 * how long: as long as its shortest TTL, an answer that there is nothing as RFC 2308 section 5 says, whose SOA record
 * gets the TTL that it should have come with. Not kept: errors, truncated and signed (TSIG, SIG(0)) messages, TTLs of
 * 0, what cannot be read to its end, "nothing" without an SOA record. */
bool ttls_scan(uint8_t *msg, size_t len, const struct dns_question *question, const struct dns_found *found, size_t n,
               struct ttls *ret);

#endif
