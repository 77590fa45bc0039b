#include "nft/devices.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>

bool devices_same(const struct if_nameindex *a, const struct if_nameindex *b)
{
    if (!a || !b)
        return a == b;
    for (; a->if_name && b->if_name; a++, b++)
        if (a->if_index != b->if_index || strcmp(a->if_name, b->if_name))
            return false;
    return !a->if_name && !b->if_name;
}

int devices_open(void)
{
    struct sockaddr_nl links = {.nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK};
    _cleanup_close_ int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
    if (fd < 0 || bind(fd, (const struct sockaddr *)&links, sizeof(links)))
        return -errno;
    return take_fd(&fd);
}

void devices_drain(int fd)
{
    char message[8192]; /* what was said does not matter: the devices are listed anew */
    while (recv(fd, message, sizeof(message), 0) >= 0 || errno == EINTR || errno == ENOBUFS)
        ;
}
