/* Open flows of the sandbox: conntrack's entries and the sockets they belong to. */
#ifndef NFT_FLOWS_H
#define NFT_FLOWS_H

#include "base/buf.h"
#include "base/ip.h"
#include "nft/conn.h"

/* A TCP or UDP flow as its socket sees it; `peer` is where its packets go, which a redirect may have changed. */
struct flow {
    uint8_t protocol;
    struct sock_addr local, remote, peer;
    uint32_t id;
    uint16_t tuple_len;
    uint8_t tuple[128]; /* conntrack's key; empty when only the socket is known */
};

/* Appends those flows of the conntrack table to `ret`, as struct flow, that leave this host, are not of a zone of
 * their own, and that `wanted` wants. Flows that came from outside are never among them. Blocks for the listing: 31 ms
 * with 10,000 entries, 9 ms of which for an empty table of 262,144 buckets. 0 or -errno. */
int flows_find(struct conn *conn, bool (*wanted)(void *ctx, const struct flow *flow), void *ctx, struct buf *ret,
               struct why *why);
/* Ends flows whose packets are refused by now: their sockets get an error at once, where the kernel can do that
 * (CONFIG_INET_DIAG_DESTROY), and the entries of TCP connections whose sockets are gone are deleted. 0 or -errno. */
int flows_end(struct conn *conn, const struct buf *flows, struct why *why);
/* Appends DNS flows, from and to port 53, that are not of a zone of their own: those that the sandbox opened, and
 * entries that an answer from outside made. Blocks as flows_find() does. 0 or -errno. */
int flows_find_dns(struct conn *conn, struct buf *ret, struct why *why);
/* Deletes the entries, so that the next packet of each flow is a first one to all rules. 0 or -errno. */
int flows_forget(struct conn *conn, const struct buf *flows, struct why *why);

#endif
