/* The sandbox's sockets, asked for and ended through sock_diag. Blocks for the kernel's answers only. */
#ifndef NFT_SOCKETS_H
#define NFT_SOCKETS_H

#include "base/buf.h"
#include "nft/flows.h"

#include <net/if.h>

/* A descriptor for the calls below, or -errno. */
int sockets_open(void);
/* Appends the connected TCP and UDP sockets to `ret`, as struct flow without a conntrack entry. Those with `mark`,
 * those to own addresses, and those whose port has a listening (or, for UDP, an unconnected) socket as well, which may
 * have been opened from outside, are never among them. `ret_udp[N]` becomes true when any UDP socket without the mark
 * has the port N; it may be NULL. 0 or -errno. */
int sockets_find(int fd, uint32_t mark, struct buf *ret, bool ret_udp[UINT16_MAX + 1], struct why *why);
/* Gives the socket of a TCP or UDP flow an error (CONFIG_INET_DIAG_DESTROY), if it can be found: without a device, or
 * bound to one of `devices`, which may be NULL. */
void sockets_destroy(int fd, const struct flow *flow, const struct if_nameindex *devices);

/* False when the kernel lists no sockets (no inet_diag, no sock_diag): which are open is not known then. */
bool sockets_listable(void);

#endif
