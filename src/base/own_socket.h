/* What tells the sidecar's own packets from the application's. With CAP_NET_RAW the application may set any mark and any
 * priority on a socket of its own (Linux 5.17), but it does not know these two, which are drawn at each start: only both
 * together open anything, so that trying them out takes 2^63 packets on average. */
#ifndef BASE_OWN_SOCKET_H
#define BASE_OWN_SOCKET_H

#include <stdint.h>
#include <sys/socket.h>

struct own_mark {
    uint32_t mark;     /* SO_MARK, not 0 */
    uint32_t priority; /* SO_PRIORITY, above the 6 that everybody may set */
};

/* Draws both. 0 or -errno. Blocks only while a machine that has just booted has no random numbers. */
int own_mark_draw(struct own_mark *ret);
/* Before connect(): has the packets of `fd` carry `own`, unless it is NULL, and makes the socket one of those that the
 * rules keep others' answers from (IP_TRANSPARENT, which is what they look for; nft/guards.h). Takes CAP_NET_ADMIN;
 * 0 or -errno. Does not block. */
int own_socket_prepare(int fd, sa_family_t family, const struct own_mark *own);

#endif
