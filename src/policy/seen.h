/* What a sandbox asked for and connected to since the start, and the smallest policy that would have allowed it.
 *
 * Names are grouped as they come: when three of them are siblings (a.example.com, b.example.com, c.example.com), a
 * wildcard stands for them (*.example.com), and names below it are not kept any more. So a sandbox that invents names
 * does not fill the memory. No wildcard stands for names below a public suffix (*.com, *.github.io). Addresses are
 * never grouped. Pure: no clock, no I/O. What does not fit is left out, and that is known. */
#ifndef POLICY_SEEN_H
#define POLICY_SEEN_H

#include "policy/policy.h"

#define SEEN_SIBLINGS 3
/* Together not more than the default of OPENSANDBOX_EGRESS_MAX_RULES, so that the policy can be posted. */
#define SEEN_NAMES_MAX 3072 /* with the parents of names */
#define SEEN_ADDRS_MAX 1024
#define SEEN_BYTES_MAX (128u << 10) /* of all names */

struct seen;

/* Takes up memory as it fills, 200 kB at most. 0 or -ENOMEM. */
int seen_new(struct seen **ret);
void seen_free(struct seen *seen);
/* A copy, for another thread. 0 or -ENOMEM. */
int seen_copy(const struct seen *seen, struct seen **ret);

/* `wire` is a well-formed lower-case name. One that is known costs a look into a table; nothing is allocated. */
void seen_name(struct seen *seen, const uint8_t *wire, size_t len);
void seen_addr(struct seen *seen, const struct ip_addr *addr);
/* Something did not fit. */
bool seen_is_full(const struct seen *seen);

/* Default deny, and one allow for each name, wildcard and address, in order of their texts. `*ret_names_missing` and
 * `*ret_addrs_missing`: some did not fit, or no rule can spell them. 0 or -ENOMEM. */
int seen_policy(const struct seen *seen, struct policy **ret, bool *ret_names_missing, bool *ret_addrs_missing);

#endif
