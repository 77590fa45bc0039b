#include "nft/nflog.h"

#include "base/cleanup.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_log.h>
#include <string.h>
#include <sys/socket.h>

#define MESSAGES_SIZE 16384
#define RECEIVE_ROOM (1 << 20) /* a burst of both directions, and a loop that is busy for seconds */
#define KERNEL_BUFFER 512      /* that it takes for a message, instead of a page */

static ssize_t receive(int fd, void *buffer, size_t size)
{
    struct sockaddr_nl from = {0};
    socklen_t from_size = sizeof(from);
    ssize_t len;
    do
        len = recvfrom(fd, buffer, size, 0, (struct sockaddr *)&from, &from_size);
    while (len < 0 && errno == EINTR);
    if (len < 0)
        return -errno;
    return from.nl_pid == 0 ? len : 0; /* only the kernel is listened to */
}

int nflog_open(int *ret_fd, struct why *why)
{
    struct sockaddr_nl any = {.nl_family = AF_NETLINK};
    int size = RECEIVE_ROOM, on = 1;
    _cleanup_close_ int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_NETFILTER);
    if (fd < 0 || bind(fd, (struct sockaddr *)&any, sizeof(any)))
        return why_set(why, -errno, "cannot open a netlink socket: %s", strerror(errno));
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)))
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
    setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof(on));
    *ret_fd = take_fd(&fd);
    return 0;
}

/* The kernel's answer to the request that was sent last: it answers while it is asked. */
static int read_verdict(int fd)
{
    _Alignas(struct nlmsghdr) uint8_t answer[1024];
    for (;;) {
        ssize_t len = receive(fd, answer, sizeof(answer));
        if (len < 0)
            return (int)len;
        int left = (int)len;
        for (const struct nlmsghdr *nlh = (const struct nlmsghdr *)answer; mnl_nlmsg_ok(nlh, left);
             nlh = mnl_nlmsg_next(nlh, &left))
            if (nlh->nlmsg_type == NLMSG_ERROR && nlh->nlmsg_len >= NLMSG_LENGTH(sizeof(int)))
                return *(const int *)mnl_nlmsg_get_payload(nlh);
    }
}

int nflog_join(int fd, uint16_t group, struct why *why)
{
    _Alignas(struct nlmsghdr) uint8_t room[256] = {0}; /* padding is sent, too */
    struct nlmsghdr *nlh = mnl_nlmsg_put_header(room);
    nlh->nlmsg_type = NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_CONFIG;
    nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
    struct nfgenmsg *head = mnl_nlmsg_put_extra_header(nlh, sizeof(*head));
    head->res_id = htons(group);
    struct nfulnl_msg_config_cmd bind_group = {.command = NFULNL_CFG_CMD_BIND};
    mnl_attr_put(nlh, NFULA_CFG_CMD, sizeof(bind_group), &bind_group);
    mnl_attr_put_u32(nlh, NFULA_CFG_NLBUFSIZ, htonl(KERNEL_BUFFER));
    mnl_attr_put_u16(nlh, NFULA_CFG_FLAGS, htons(NFULNL_CFG_F_SEQ));
    int error = send(fd, nlh, nlh->nlmsg_len, 0) < 0 ? -errno : read_verdict(fd);
    if (error == -EPERM)
        return why_set(why, error, "another program listens to group %u of NFLOG", group);
    return error ? why_set(why, error, "the kernel has no NFLOG: %s", strerror(-error)) : 0;
}

static bool read_packet(const struct nlmsghdr *nlh, struct nflog_packet *packet)
{
    if (nlh->nlmsg_type != (NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_PACKET) ||
        nlh->nlmsg_len < NLMSG_LENGTH(sizeof(struct nfgenmsg)))
        return false;
    const struct nlattr *attr;
    *packet = (struct nflog_packet){.group = ntohs(((struct nfgenmsg *)mnl_nlmsg_get_payload(nlh))->res_id)};
    mnl_attr_for_each(attr, nlh, sizeof(struct nfgenmsg))
    {
        if (mnl_attr_get_type(attr) == NFULA_SEQ && mnl_attr_validate(attr, MNL_TYPE_U32) >= 0)
            packet->number = ntohl(mnl_attr_get_u32(attr));
        if (mnl_attr_get_type(attr) == NFULA_PAYLOAD) {
            packet->payload = mnl_attr_get_payload(attr);
            packet->len = mnl_attr_get_payload_len(attr);
        }
    }
    return packet->payload;
}

int nflog_receive(int fd, void (*take)(void *ctx, const struct nflog_packet *packet), void *ctx)
{
    _Alignas(struct nlmsghdr) uint8_t messages[MESSAGES_SIZE];
    ssize_t len = receive(fd, messages, sizeof(messages));
    if (len == -ENOBUFS) /* the gap in the numbers tells how many were lost */
        return 1;
    if (len < 0)
        return 0;
    int left = (int)len;
    for (const struct nlmsghdr *nlh = (const struct nlmsghdr *)messages; mnl_nlmsg_ok(nlh, left);
         nlh = mnl_nlmsg_next(nlh, &left)) {
        struct nflog_packet packet;
        if (read_packet(nlh, &packet))
            take(ctx, &packet);
    }
    return 1;
}
