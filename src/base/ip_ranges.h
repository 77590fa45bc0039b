/* Sets of prefixes as merged ranges: what interval sets of the kernel want, and what a lookup needs. */
#ifndef BASE_IP_RANGES_H
#define BASE_IP_RANGES_H

#include "base/ip.h"

/* Merges overlapping and adjacent prefixes of both families. 0 or -ENOMEM; ip_ranges_done() frees the arrays. */
int ip_ranges_build(const struct ip_prefix *prefixes, size_t n, struct ip_ranges *ret);
/* What is in either. 0 or -ENOMEM. */
int ip_ranges_join(const struct ip_ranges *a, const struct ip_ranges *b, struct ip_ranges *ret);
void ip_ranges_done(struct ip_ranges *ranges);
/* Binary search. */
bool ip_ranges_contain(const struct ip_ranges *ranges, const struct ip_addr *addr);
/* The same for ranges that refuse: also when they have the IPv4 address that it leads to (ip_embedded()). */
bool ip_ranges_refuse(const struct ip_ranges *ranges, const struct ip_addr *addr);

/* Whether every address of `inner` is in `outer`. */
bool ip_ranges_within(const struct ip_ranges *inner, const struct ip_ranges *outer);

#endif
