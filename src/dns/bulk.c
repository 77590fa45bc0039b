#include "dns/bulk.h"

#include <netinet/in.h>
#include <netinet/udp.h>
#include <string.h>

/* What fits every path's MTU (IPv6's least, 1280): the kernel refuses bulks of longer ones. */
#define DATAGRAM_MAX 1232
#define PACKET_MAX 60000 /* of all; the kernel's limit is that of an IP packet */

unsigned bulk_add(struct bulk *bulk, struct iovec *iov, unsigned n, struct sock_addr *to)
{
    struct msghdr *message = &bulk->messages[bulk->n].msg_hdr;
    union bulk_size *size = &bulk->sizes[bulk->n++];
    uint16_t len = (uint16_t)iov->iov_len;
    unsigned same = 1;
    while (same < n && iov[same].iov_len == len && len <= DATAGRAM_MAX && (same + 1u) * len <= PACKET_MAX)
        same++;
    *message = (struct msghdr){.msg_iov = iov, .msg_iovlen = same};
    if (to) {
        message->msg_name = to;
        message->msg_namelen = sock_addr_len(to);
    }
    if (same > 1) {
        size->header =
            (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(len)), .cmsg_level = IPPROTO_UDP, .cmsg_type = UDP_SEGMENT};
        memcpy(CMSG_DATA(&size->header), &len, sizeof(len));
        message->msg_control = size;
        message->msg_controllen = sizeof(*size);
    }
    return same;
}

unsigned bulk_send(struct bulk *bulk, int fd, unsigned from)
{
    int n = sendmmsg(fd, bulk->messages + from, bulk->n - from, MSG_DONTWAIT);
    return n > 0 ? (unsigned)n : 0;
}
