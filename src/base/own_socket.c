#include "base/own_socket.h"

#include <errno.h>
#include <netinet/in.h>
#include <sys/random.h>

#ifndef IPV6_TRANSPARENT
#define IPV6_TRANSPARENT 75 /* linux/in6.h */
#endif

/* Up to here a priority is a class of service (linux/pkt_sched.h, TC_PRIO_MAX), which anybody may set. */
#define PRIORITY_LOWEST 0x10000u

int own_mark_draw(struct own_mark *ret)
{
    do {
        if (getrandom(ret, sizeof(*ret), 0) != sizeof(*ret))
            return -errno;
    } while (!ret->mark || ret->priority < PRIORITY_LOWEST);
    return 0;
}

int own_socket_prepare(int fd, sa_family_t family, const struct own_mark *own)
{
    int on = 1;
    if (own && (setsockopt(fd, SOL_SOCKET, SO_MARK, &own->mark, sizeof(own->mark)) ||
                setsockopt(fd, SOL_SOCKET, SO_PRIORITY, &own->priority, sizeof(own->priority))))
        return -errno;
    int error = family == AF_INET ? setsockopt(fd, IPPROTO_IP, IP_TRANSPARENT, &on, sizeof(on))
                                  : setsockopt(fd, IPPROTO_IPV6, IPV6_TRANSPARENT, &on, sizeof(on));
    return error ? -errno : 0;
}
