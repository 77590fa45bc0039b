/* Datagrams of one length to one address go through the network stack as one packet, to be divided at its end
 * (UDP_SEGMENT, Linux 4.18): nearly all that a datagram costs, conntrack and the rules above all, is paid once. */
#ifndef DNS_BULK_H
#define DNS_BULK_H

#include "base/ip.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define BULK_BATCH 64 /* as many datagrams as the kernel divides a packet into (UDP_MAX_SEGMENTS) */

/* Room for one control message that says how long each datagram is. */
union bulk_size {
    struct cmsghdr header;
    uint8_t room[CMSG_SPACE(sizeof(uint16_t))];
};

/* Messages for sendmmsg(). Points to what it was made of, and into itself. */
struct bulk {
    unsigned n;
    struct mmsghdr messages[BULK_BATCH];
    union bulk_size sizes[BULK_BATCH];
};

/* Adds one message, for as many of iov[0..n) as can be one; returns how many these are, 1 at least. All go to `to`, or
 * to where the socket is connected (NULL). No more than BULK_BATCH messages. */
unsigned bulk_add(struct bulk *bulk, struct iovec *iov, unsigned n, struct sock_addr *to);
/* Sends from the message `from` on without blocking; returns how many messages left. When it was none, errno says why.
 */
unsigned bulk_send(struct bulk *bulk, int fd, unsigned from);

#endif
