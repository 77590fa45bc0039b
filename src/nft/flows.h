/* Open flows of the sandbox: conntrack's entries and the sockets they belong to. */
#ifndef NFT_FLOWS_H
#define NFT_FLOWS_H

#include "base/buf.h"
#include "base/ip.h"
#include "nft/conn.h"

/* A flow as its socket sees it, ports 0 where the protocol has none; `peer` is where its packets go, which a redirect
 * may have changed. */
struct flow {
    uint8_t protocol;
    struct sock_addr local, remote, peer;
    bool over;      /* TCP: both ends have said goodbye */
    bool picked_up; /* TCP: conntrack found it under way */
    uint32_t id;
    uint16_t tuple_len;
    uint8_t tuple[128]; /* conntrack's key; empty when only the socket is known */
};

#define FLOWS_AT_ONCE 1024

/* False on kernels without nf_conntrack_netlink: nothing can be listed or deleted then. */
bool flows_listable(struct conn *conn);
/* Whether conntrack has no entry in this network namespace, not even one that is being made. Does not block, while a
 * listing goes through the table of all namespaces. False when the kernel does not say. */
bool flows_none(struct conn *conn);
/* Hands those flows of the conntrack table to `take`, as struct flow and at most FLOWS_AT_ONCE at once, that leave this
 * host and are not of a zone of their own. Flows that came from outside are never among them. Blocks for the listing:
 * 31 ms with 10,000 entries, 9 ms of which for going through 262,144 buckets; not at all when this namespace has none.
 * 0 or -errno, also that of `take`. */
int flows_list(struct conn *conn, int (*take)(void *ctx, struct buf *flows), void *ctx, struct why *why);
/* Ends flows whose packets are refused by now, as are first packets from their far ends: their sockets get an error at
 * once, where the kernel can do that (CONFIG_INET_DIAG_DESTROY), and their entries are deleted. `conn` is not one on
 * which flows are being listed. 0 or -errno. */
int flows_end(struct conn *conn, const struct buf *flows, struct why *why);
/* Appends DNS flows, from and to port 53, that are not of a zone of their own: those that the sandbox opened, and
 * entries that an answer from outside made. Blocks as flows_list() does. 0 or -errno. */
int flows_find_dns(struct conn *conn, struct buf *ret, struct why *why);
/* Appends flows that count as opened from outside though nobody saw who did: TCP connections that conntrack found under
 * way, datagram flows and those of other protocols but ICMP. Blocks as flows_list() does. 0 or -errno. */
int flows_find_doubtful(struct conn *conn, struct buf *ret, struct why *why);
/* Makes entries for TCP and UDP flows, opened here, that have none: their far ends may be the next to speak. 0 or
 * -errno. */
int flows_remember(struct conn *conn, const struct buf *flows, struct why *why);
/* Deletes the entries, so that the next packet of each flow is a first one to all rules. 0 or -errno. */
int flows_forget(struct conn *conn, const struct buf *flows, struct why *why);

#endif
