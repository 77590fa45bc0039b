/* The addresses of this network namespace's interfaces, kept current: the kernel rings when one comes or goes. Runs in
 * the loop; looking up reads memory only. */
#ifndef DNS_OWN_ADDRESSES_H
#define DNS_OWN_ADDRESSES_H

#include "base/ip.h"
#include "base/log.h"
#include "base/loop.h"

struct own_addresses;

/* Reads them and begins to watch. When a later reading fails the old ones stay, `log` is told, and it is tried
 * again every second. 0 or -errno. */
int own_addresses_new(struct loop *loop, struct log *log, struct own_addresses **ret);
void own_addresses_free(struct own_addresses *own);
/* Another number whenever they have changed. */
unsigned own_addresses_version(const struct own_addresses *own);
bool own_addresses_have(const struct own_addresses *own, const struct ip_addr *addr);

#endif
