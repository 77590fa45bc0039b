#include "netlink_world.h"

#include "base/ip.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <libmnl/libmnl.h>
#include <linux/netlink.h>
#include <string.h>
#include <sys/socket.h>

static struct {
    struct script *script; /* NULL: the real one */
    uint32_t seq;          /* of the newest message that it got */
    bool owes;             /* an acknowledgement */
} kernel;

void kernel_begin(struct script *script)
{
    kernel.script = script;
    kernel.owes = false;
}

void kernel_end(void)
{
    kernel.script = NULL;
}

static ssize_t take_request(const void *data, size_t len)
{
    int left = (int)len;
    for (const struct nlmsghdr *nlh = data; mnl_nlmsg_ok(nlh, left); nlh = mnl_nlmsg_next(nlh, &left))
        kernel.seq = nlh->nlmsg_seq;
    kernel.owes = true;
    return (ssize_t)len;
}

static ssize_t acknowledge(uint8_t *ret, size_t size)
{
    struct {
        struct nlmsghdr head;
        struct nlmsgerr verdict;
    } ack = {.head = {.nlmsg_len = sizeof(ack), .nlmsg_type = NLMSG_ERROR, .nlmsg_seq = kernel.seq}};
    if (!kernel.owes) {
        errno = EAGAIN;
        return -1;
    }
    kernel.owes = false;
    must(sizeof(ack) <= size);
    memcpy(ret, &ack, sizeof(ack));
    return sizeof(ack);
}

/* What the kernel never says: a message longer than its datagram, which libmnl takes for a good one from 2 GiB on; and
 * errors that are none. */
void kernel_mend(void *datagram, size_t len)
{
    int left = (int)len;
    for (struct nlmsghdr *nlh = datagram; left >= (int)sizeof(*nlh); nlh = mnl_nlmsg_next(nlh, &left)) {
        if (nlh->nlmsg_len < sizeof(*nlh) || nlh->nlmsg_len > (uint32_t)left)
            nlh->nlmsg_len = (uint32_t)left;
        int *error = mnl_nlmsg_get_payload(nlh);
        if ((nlh->nlmsg_type == NLMSG_ERROR || nlh->nlmsg_type == NLMSG_DONE) &&
            nlh->nlmsg_len >= NLMSG_LENGTH(sizeof(*error)))
            *error = -(int)((unsigned)*error & 0xfff);
    }
}

/* An odd first octet: sequence numbers are as the script has them; else they are those of the request. */
static ssize_t answer(void *ret, size_t size)
{
    uint8_t how = script_u8(kernel.script);
    size_t len;
    const uint8_t *bytes = script_bytes(kernel.script, &len);
    if (!len)
        return acknowledge(ret, size);
    if (len > size) { /* as libmnl says that a datagram was cut */
        errno = ENOSPC;
        return -1;
    }
    memcpy(ret, bytes, len);
    kernel_mend(ret, len);
    int left = (int)len;
    for (struct nlmsghdr *nlh = ret; !(how & 1) && mnl_nlmsg_ok(nlh, left); nlh = mnl_nlmsg_next(nlh, &left))
        nlh->nlmsg_seq = kernel.seq;
    return (ssize_t)len;
}

/* --- in the place of libmnl's and the C library's --- */

ssize_t __real_mnl_socket_sendto(const struct mnl_socket *nl, const void *data, size_t len);
ssize_t __wrap_mnl_socket_sendto(const struct mnl_socket *nl, const void *data, size_t len);
ssize_t __real_mnl_socket_recvfrom(const struct mnl_socket *nl, void *ret, size_t size);
ssize_t __wrap_mnl_socket_recvfrom(const struct mnl_socket *nl, void *ret, size_t size);
ssize_t __real_send(int fd, const void *data, size_t len, int flags);
ssize_t __wrap_send(int fd, const void *data, size_t len, int flags);
ssize_t __real_recv(int fd, void *ret, size_t size, int flags);
ssize_t __wrap_recv(int fd, void *ret, size_t size, int flags);
int __wrap_getifaddrs(struct ifaddrs **ret);
void __wrap_freeifaddrs(struct ifaddrs *list);

ssize_t __wrap_mnl_socket_sendto(const struct mnl_socket *nl, const void *data, size_t len)
{
    return kernel.script ? take_request(data, len) : __real_mnl_socket_sendto(nl, data, len);
}

ssize_t __wrap_mnl_socket_recvfrom(const struct mnl_socket *nl, void *ret, size_t size)
{
    return kernel.script ? answer(ret, size) : __real_mnl_socket_recvfrom(nl, ret, size);
}

ssize_t __wrap_send(int fd, const void *data, size_t len, int flags)
{
    return kernel.script ? take_request(data, len) : __real_send(fd, data, len, flags);
}

ssize_t __wrap_recv(int fd, void *ret, size_t size, int flags)
{
    return kernel.script ? answer(ret, size) : __real_recv(fd, ret, size, flags);
}

int __wrap_getifaddrs(struct ifaddrs **ret)
{
    static struct sock_addr v4 = {.in = {.sin_family = AF_INET}}, v6 = {.in6 = {.sin6_family = AF_INET6}};
    static struct ifaddrs list[2] = {{.ifa_next = &list[1], .ifa_addr = &v4.sa}, {.ifa_addr = &v6.sa}};
    inet_pton(AF_INET, "192.0.2.1", &v4.in.sin_addr);
    inet_pton(AF_INET6, "2001:db8::1", &v6.in6.sin6_addr);
    *ret = list;
    return 0;
}

void __wrap_freeifaddrs(struct ifaddrs *list)
{
}
