/* Answers that we make ourselves: denials, errors, truncation. Pure. */
#ifndef DNS_REPLY_H
#define DNS_REPLY_H

#include "dns/answer.h"

#include <ldns/edns.h>

/* Room for every reply made here. */
#define DNS_REPLY_MAX 512

/* No extended error (RFC 8914); else one of ldns_edns_ede_code. */
#define DNS_EDE_NONE (-1)

/* An error for a query that could not be read: its header alone. `query` has DNS_HEADER_SIZE bytes at least. */
size_t dns_reply_header(const uint8_t *query, unsigned rcode, uint8_t ret_reply[DNS_REPLY_MAX]);

/* The question echoed, no records; with a fresh OPT when the client sent one (an echoed OPT would return its cookie and
 * options as if understood), and in it the extended error with `text` (may be NULL). */
size_t dns_reply_empty(const uint8_t *query, size_t question_end, const struct dns_edns *edns, unsigned rcode, int ede,
                       const char *text, uint8_t ret_reply[DNS_REPLY_MAX]);

/* Cuts a response that is too long for a UDP client down to its question, with TC set (RFC 2181 section 9) and an OPT
 * when the client sent one. `response` has room for DNS_REPLY_MAX. Returns the new length. */
size_t dns_reply_truncate(uint8_t *response, size_t question_end, const struct dns_edns *edns);

/* Rewrites a response to its question and these `n` addresses, all of the type asked for and all found in it: no chain
 * (its TTL bounds theirs), no other section, and an OPT when the client sent one. Their `ttl_at` are set anew. It never
 * becomes longer than it was, `len`: `n` shrinks to what fits. Returns the new length. */
size_t dns_reply_addresses(uint8_t *response, size_t len, size_t question_end, const struct dns_edns *edns,
                           struct dns_found *found, size_t *n);

#endif
