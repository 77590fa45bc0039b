/* The addresses of this host's interfaces, as they are now. */
#ifndef NFT_OWN_H
#define NFT_OWN_H

#include "base/cleanup.h"
#include "base/ip.h"

#include <ifaddrs.h>
#include <stdbool.h>

/* `own` is from getifaddrs(). 127.0.0.0/8 always belongs to it. */
bool own_has(const struct ifaddrs *own, const struct sock_addr *endpoint);

DEFINE_CLEANUP(struct ifaddrs, own_cleanup, freeifaddrs);
#define _cleanup_own_ _cleanup_(own_cleanup)

#endif
