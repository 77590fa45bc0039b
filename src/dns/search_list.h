/* Names that a stub resolver made by its search list: with `search a.test` a lookup of www.example.com asks
 * www.example.com.a.test, too. That such a name is denied says nothing about the application. Pure. */
#ifndef DNS_SEARCH_LIST_H
#define DNS_SEARCH_LIST_H

#include "dns/resolv_conf.h"
#include "policy/policy.h"

/* Whether `name` (wire format, lower-case) is one of the suffixes behind a name that a rule allows by name: `*` and
 * default allow say nothing about a name. */
bool search_list_made(const struct policy_layers *layers, const struct dns_suffix *suffixes, size_t n,
                      const uint8_t *name, size_t len);

#endif
