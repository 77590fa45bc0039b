/* What tells the sidecar's own packets from the application's: a mark and a group, both drawn at each start. The
 * application may set any mark on its sockets (CAP_NET_RAW, Linux 5.17) and be of any group (CAP_SETGID), but only both
 * together open anything, so that trying them out takes 2^62 packets on average. A priority would not do instead of the
 * group: sock_diag(7) shows it to everybody. */
#ifndef BASE_OWN_SOCKET_H
#define BASE_OWN_SOCKET_H

#include <stdint.h>
#include <sys/socket.h>

struct own_mark {
    uint32_t mark;  /* SO_MARK, not 0 */
    uint32_t group; /* own_group_take(); 0: there is none, and the mark alone tells the packets */
};

/* Draws a group and keeps it as the saved one of the process, which its threads can then take for a moment without a
 * capability. To be called once, before there are threads and while there is CAP_SETGID. Returns it; 0 when the process
 * may not, or the rules would not see it. Who shares the PID namespace can read it in /proc. */
uint32_t own_group_take(void);
/* Draws the mark. 0 or -errno. Blocks only while a machine that has just booted has no random numbers. */
int own_mark_draw(struct own_mark *ret);
/* As socket() with SOCK_CLOEXEC, in the group if the process has taken one: the descriptor or -errno. */
int own_socket_open(int family, int type);
/* Before connect(): has the packets of `fd` carry the mark, unless `own` is NULL, and makes the socket one of those
 * that the rules keep others' answers from (IP_TRANSPARENT, which is what they look for; nft/guards.h). Takes
 * CAP_NET_ADMIN; 0 or -errno. Does not block. */
int own_socket_prepare(int fd, sa_family_t family, const struct own_mark *own);

#endif
