#include "nft/devices.h"

#include "base/ip.h"

#include <errno.h>
#include <libmnl/libmnl.h>
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
    struct sockaddr_nl links = {.nl_family = AF_NETLINK,
                                .nl_groups = RTMGRP_LINK | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE};
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

static bool leads_out(const struct nlmsghdr *nlh)
{
    const struct rtmsg *route = mnl_nlmsg_get_payload(nlh);
    const struct nlattr *attr;
    bool away = false, near = false;
    if (nlh->nlmsg_type != RTM_NEWROUTE || route->rtm_type != RTN_UNICAST)
        return false;
    mnl_attr_for_each(attr, nlh, sizeof(*route))
    {
        uint16_t type = mnl_attr_get_type(attr);
        const uint8_t *data = mnl_attr_get_payload(attr);
        if (type == RTA_OIF)
            away = mnl_attr_get_u32(attr) != LOOPBACK_INDEX;
        else if (type == RTA_MULTIPATH || type == RTA_NH_ID)
            away = true;
        else if (type == RTA_DST && route->rtm_family == AF_INET6) /* fe80::/10, ff00::/8 */
            near = data[0] == 0xff || (data[0] == 0xfe && (data[1] & 0xc0) == 0x80);
    }
    return away && !near;
}

/* The first such route is enough: closing the socket ends a listing that may be long. */
int devices_lead_out(bool *ret)
{
    struct {
        struct nlmsghdr head;
        struct rtmsg route;
    } question = {
        .head = {.nlmsg_len = sizeof(question), .nlmsg_type = RTM_GETROUTE, .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP}};
    _Alignas(struct nlmsghdr) char answer[16384];
    _cleanup_close_ int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
    if (fd < 0 || send(fd, &question, sizeof(question), 0) < 0)
        return -errno;
    for (;;) {
        ssize_t n = recv(fd, answer, sizeof(answer), 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        int left = (int)n;
        for (struct nlmsghdr *nlh = (struct nlmsghdr *)answer; mnl_nlmsg_ok(nlh, left);
             nlh = mnl_nlmsg_next(nlh, &left)) {
            *ret = leads_out(nlh);
            if (*ret || nlh->nlmsg_type == NLMSG_DONE)
                return 0;
            if (nlh->nlmsg_type == NLMSG_ERROR)
                return -EIO;
        }
    }
}
