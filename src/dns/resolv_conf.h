/* The nameservers of a resolv.conf(5), for when no upstream is configured. */
#ifndef DNS_RESOLV_CONF_H
#define DNS_RESOLV_CONF_H

#include "base/ip.h"

#include <stddef.h>

#define RESOLV_CONF_SERVERS_MAX 10

/* Collects `nameserver` lines of `text`: non-loopback ones first, then loopback, each once, port 53, at most
 * RESOLV_CONF_SERVERS_MAX. Pure. Returns their number. */
size_t resolv_conf_nameservers(const char *text, size_t len, struct sock_addr ret[RESOLV_CONF_SERVERS_MAX]);

#endif
