/* A resolv.conf(5), read as the C library reads it. */
#ifndef DNS_RESOLV_CONF_H
#define DNS_RESOLV_CONF_H

#include "base/ip.h"

#include <stddef.h>

#define RESOLV_CONF_SERVERS_MAX 10
#define RESOLV_CONF_SEARCH_MAX 32

/* A domain that stub resolvers put behind names: wire format, lower-case, with the root's octet. */
struct dns_suffix {
    uint8_t name[255];
    uint8_t len;
};

struct resolv_conf {
    struct sock_addr servers[RESOLV_CONF_SERVERS_MAX]; /* non-loopback ones first, each once, port 53 */
    size_t n_servers;
    struct dns_suffix search[RESOLV_CONF_SEARCH_MAX]; /* without the root, which adds nothing */
    size_t n_search;
    unsigned ndots; /* a name with fewer dots is asked with the suffixes first */
};

/* Reads `text`. Lines that the C library would pass over are passed over; what is too much is left out.
 * `interface_index` tells the number of the interface that a zone (fe80::1%eth0) names, 0 for none: if_nametoindex.
 * `host` is the machine's name, whose domain is searched when no list is named. */
void resolv_conf_parse(const char *text, size_t len, const char *host, unsigned (*interface_index)(const char *name),
                       struct resolv_conf *ret);

#endif
