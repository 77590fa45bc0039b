/* The sandbox's sockets, asked for and ended through sock_diag. Blocks for the kernel's answers only. */
#ifndef NFT_SOCKETS_H
#define NFT_SOCKETS_H

#include "base/buf.h"
#include "nft/flows.h"

/* A descriptor for the calls below, or -errno. */
int sockets_open(void);
/* Appends the connected TCP and UDP sockets that `wanted` wants to `ret`, as struct flow without a conntrack entry.
 * Those with `mark`, those to own addresses, and those whose port has a listening (or, for UDP, an unconnected) socket
 * as well, which were opened from outside, are never among them. 0 or -errno. */
int sockets_find(int fd, uint32_t mark, bool (*wanted)(void *ctx, const struct flow *flow), void *ctx, struct buf *ret,
                 struct why *why);
/* Gives the socket of a flow an error (CONFIG_INET_DIAG_DESTROY). True when there is no socket of this flow any more.
 */
bool sockets_destroy(int fd, const struct flow *flow);

/* False when the kernel lists no sockets (no inet_diag, no sock_diag): which are open is not known then. */
bool sockets_listable(void);

#endif
