#include "nft/sockets.h"

#include "base/cleanup.h"
#include "nft/own.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <string.h>
#include <sys/socket.h>

/* States of sockets (include/net/tcp_states.h), which UDP shares: ESTABLISHED is connected, CLOSE is not. */
enum { ESTABLISHED = 1, SYN_RECV = 3, TIME_WAIT = 6, CLOSE = 7, LISTEN = 10, NEW_SYN_RECV = 12 };
#define ANSWER_SIZE 32768

int sockets_open(void)
{
    int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
    return fd < 0 ? -errno : fd;
}

static struct inet_diag_sockid socket_id(const struct sock_addr *local, const struct sock_addr *remote)
{
    struct ip_addr from = sock_addr_ip(local), to = sock_addr_ip(remote);
    struct inet_diag_sockid id = {.idiag_sport = htons(sock_addr_port(local)),
                                  .idiag_dport = htons(sock_addr_port(remote)),
                                  .idiag_cookie = {INET_DIAG_NOCOOKIE, INET_DIAG_NOCOOKIE}};
    memcpy(id.idiag_src, from.bytes, ip_size(from.family));
    memcpy(id.idiag_dst, to.bytes, ip_size(to.family));
    return id;
}

/* One question, one answer. 0, also when the answer is `*ret`; -errno. */
static int ask_diag(int fd, uint16_t type, const struct flow *flow, const struct inet_diag_sockid *id,
                    struct inet_diag_msg *ret)
{
    _Alignas(struct nlmsghdr) char room[8192];
    struct nlmsghdr *nlh = mnl_nlmsg_put_header(room);
    nlh->nlmsg_type = type;
    nlh->nlmsg_flags = NLM_F_REQUEST | (type == SOCK_DESTROY ? NLM_F_ACK : 0);
    struct inet_diag_req_v2 *request = mnl_nlmsg_put_extra_header(nlh, sizeof(*request));
    request->sdiag_family = (uint8_t)flow->local.sa.sa_family;
    request->sdiag_protocol = flow->protocol;
    request->idiag_states = UINT32_MAX;
    request->id = *id;
    if (send(fd, nlh, nlh->nlmsg_len, 0) < 0)
        return -errno;
    ssize_t len = recv(fd, room, sizeof(room), 0);
    if (len < 0)
        return -errno;
    if (!mnl_nlmsg_ok(nlh, (int)len))
        return -EBADMSG;
    if (nlh->nlmsg_type == NLMSG_ERROR && nlh->nlmsg_len >= NLMSG_LENGTH(sizeof(struct nlmsgerr))) {
        int error = ((const struct nlmsgerr *)mnl_nlmsg_get_payload(nlh))->error;
        return error || type == SOCK_DESTROY ? error : -EBADMSG;
    }
    if (type == SOCK_DESTROY || nlh->nlmsg_len < NLMSG_LENGTH(sizeof(*ret)))
        return -EBADMSG;
    memcpy(ret, mnl_nlmsg_get_payload(nlh), sizeof(*ret));
    return 0;
}

/* Looks before it destroys: the kernel would take a listening socket, or one that talks to many, for want of another.
 * -ENOENT when it finds none: a socket that is bound to a device is found by that only, 0 being none. */
static int destroy_on(int fd, const struct flow *flow, uint32_t device)
{
    struct inet_diag_msg found;
    struct inet_diag_sockid id = socket_id(&flow->local, &flow->remote);
    /* Looking for a UDP socket wants the ends the other way round, destroying it does not. */
    struct inet_diag_sockid wanted = flow->protocol == IPPROTO_UDP ? socket_id(&flow->remote, &flow->local) : id;
    id.idiag_if = wanted.idiag_if = device;
    int error = ask_diag(fd, SOCK_DIAG_BY_FAMILY, flow, &wanted, &found);
    if (error)
        return error;
    if (found.id.idiag_dport != id.idiag_dport)
        return -ENOENT;
    memcpy(id.idiag_cookie, found.id.idiag_cookie, sizeof(id.idiag_cookie));
    return ask_diag(fd, SOCK_DESTROY, flow, &id, NULL);
}

void sockets_destroy(int fd, const struct flow *flow, const struct if_nameindex *devices)
{
    int error = destroy_on(fd, flow, 0);
    for (; devices && devices->if_index && error == -ENOENT; devices++)
        error = destroy_on(fd, flow, devices->if_index);
}

/* --- listing --- */

struct listing {
    struct buf sockets;                /* of struct flow: the connected ones */
    uint8_t served[2][UINT16_MAX + 1]; /* ports that listen, TCP's and UDP's */
    bool *udp;                         /* ports that have a socket of UDP */
    uint8_t protocol;
    uint32_t mark; /* of the sidecar's own */
};

static struct sock_addr endpoint(uint8_t family, const __be32 *addr, __be16 port)
{
    struct ip_addr ip = family == AF_INET ? ip_from_v4(addr) : ip_from_v6_socket(addr);
    return sock_addr_make(&ip, ntohs(port));
}

static bool has_mark(const struct nlmsghdr *nlh, uint32_t mark)
{
    const struct nlattr *attr;
    mnl_attr_for_each(attr, nlh, sizeof(struct inet_diag_msg))
    {
        if (mnl_attr_get_type(attr) == INET_DIAG_MARK && mnl_attr_validate(attr, MNL_TYPE_U32) >= 0)
            return mnl_attr_get_u32(attr) == mark;
    }
    return false;
}

static void take_socket(struct listing *listing, const struct nlmsghdr *nlh)
{
    const struct inet_diag_msg *found = mnl_nlmsg_get_payload(nlh);
    bool tcp = listing->protocol == IPPROTO_TCP;
    if (listing->udp && !tcp && !has_mark(nlh, listing->mark))
        listing->udp[ntohs(found->id.idiag_sport)] = true;
    if (found->idiag_state == (tcp ? LISTEN : CLOSE)) {
        listing->served[!tcp][ntohs(found->id.idiag_sport)] = 1;
        return;
    }
    bool is_open = tcp ? found->idiag_state != SYN_RECV && found->idiag_state != NEW_SYN_RECV &&
                             found->idiag_state != TIME_WAIT && found->idiag_state != CLOSE
                       : found->idiag_state == ESTABLISHED;
    if (!is_open || has_mark(nlh, listing->mark))
        return;
    struct flow flow = {.protocol = listing->protocol,
                        .local = endpoint(found->idiag_family, found->id.idiag_src, found->id.idiag_sport),
                        .remote = endpoint(found->idiag_family, found->id.idiag_dst, found->id.idiag_dport)};
    flow.peer = flow.remote;
    buf_append(&listing->sockets, &flow, sizeof(flow));
}

/* Asks for all sockets of a protocol and a family that are in one of these states. */
static int ask_for_list(int fd, uint8_t family, uint8_t protocol, uint32_t states)
{
    _Alignas(struct nlmsghdr) char room[128];
    struct nlmsghdr *nlh = mnl_nlmsg_put_header(room);
    nlh->nlmsg_type = SOCK_DIAG_BY_FAMILY;
    nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
    struct inet_diag_req_v2 *request = mnl_nlmsg_put_extra_header(nlh, sizeof(*request));
    request->sdiag_family = family;
    request->sdiag_protocol = protocol;
    request->idiag_states = states;
    return send(fd, nlh, nlh->nlmsg_len, 0) < 0 ? -errno : 0;
}

/* All sockets of a protocol and a family, chunk by chunk. */
static int list_sockets(int fd, uint8_t family, uint8_t protocol, struct listing *listing)
{
    _Alignas(struct nlmsghdr) char room[ANSWER_SIZE];
    listing->protocol = protocol;
    int error = ask_for_list(fd, family, protocol, UINT32_MAX);
    if (error)
        return error;
    for (;;) {
        ssize_t received = recv(fd, room, sizeof(room), 0);
        if (received < 0)
            return -errno;
        int left = (int)received;
        for (struct nlmsghdr *nlh = (struct nlmsghdr *)room; mnl_nlmsg_ok(nlh, left);
             nlh = mnl_nlmsg_next(nlh, &left)) {
            if (nlh->nlmsg_type == NLMSG_DONE)
                return listing->sockets.failed ? -ENOMEM : 0;
            if (nlh->nlmsg_type == NLMSG_ERROR)
                return nlh->nlmsg_len < NLMSG_LENGTH(sizeof(struct nlmsgerr))
                           ? -EBADMSG
                           : ((const struct nlmsgerr *)mnl_nlmsg_get_payload(nlh))->error;
            if (nlh->nlmsg_len >= NLMSG_LENGTH(sizeof(struct inet_diag_msg)))
                take_socket(listing, nlh);
        }
    }
}

/* Both families have to be known before any socket is judged: a server on [::] serves IPv4, too. */
static int list_all(int fd, struct listing *listing)
{
    static const uint8_t families[] = {AF_INET, AF_INET6}, protocols[] = {IPPROTO_TCP, IPPROTO_UDP};
    for (size_t p = 0; p < 2; p++) {
        for (size_t f = 0; f < 2; f++) {
            int error = list_sockets(fd, families[f], protocols[p], listing);
            if (error && error != -ENOENT) /* ENOENT: the kernel has no such protocol */
                return error;
        }
    }
    return 0;
}

int sockets_find(int fd, uint32_t mark, struct buf *ret, bool ret_udp[UINT16_MAX + 1], struct why *why)
{
    _cleanup_own_ struct ifaddrs *own = NULL;
    if (getifaddrs(&own))
        return why_set(why, -errno, "cannot list own addresses: %s", strerror(errno));
    _cleanup_free_ struct listing *listing = calloc(1, sizeof(*listing));
    if (!listing)
        return why_set(why, -ENOMEM, "out of memory");
    listing->mark = mark;
    listing->udp = ret_udp;
    int error = list_all(fd, listing);
    const struct flow *flow = (const struct flow *)listing->sockets.data;
    for (size_t left = listing->sockets.len / sizeof(*flow); left > 0 && !error; left--, flow++) {
        if (listing->served[flow->protocol != IPPROTO_TCP][sock_addr_port(&flow->local)] || own_has(own, &flow->peer))
            continue;
        buf_append(ret, flow, sizeof(*flow));
        error = ret->failed ? -ENOMEM : 0;
    }
    buf_done(&listing->sockets);
    return error ? why_set(why, error, "cannot list sockets: %s", strerror(-error)) : 0;
}

bool sockets_listable(void)
{
    _cleanup_close_ int fd = sockets_open();
    if (fd < 0 || ask_for_list(fd, AF_INET, IPPROTO_TCP, 0)) /* in no state: a short list */
        return false;
    _Alignas(struct nlmsghdr) char room[ANSWER_SIZE];
    const struct nlmsghdr *nlh = (const struct nlmsghdr *)room;
    ssize_t received = recv(fd, room, sizeof(room), 0);
    return received > 0 && mnl_nlmsg_ok(nlh, (int)received) && nlh->nlmsg_type != NLMSG_ERROR;
}
