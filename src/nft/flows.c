#include "nft/flows.h"

#include "base/cleanup.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <linux/inet_diag.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/sock_diag.h>
#include <string.h>
#include <unistd.h>

struct finder {
    bool (*wanted)(void *ctx, const struct sock_addr *peer);
    void *ctx;
    struct buf *flows;
    const struct ifaddrs *own;
};

static bool is_own(const struct finder *finder, const struct sock_addr *endpoint)
{
    struct ip_addr addr = sock_addr_ip(endpoint);
    if (addr.family == AF_INET && addr.bytes[0] == 127)
        return true;
    for (const struct ifaddrs *own = finder->own; own; own = own->ifa_next) {
        if (!own->ifa_addr || own->ifa_addr->sa_family != addr.family)
            continue;
        struct sock_addr one = {0};
        memcpy(&one, own->ifa_addr, addr.family == AF_INET ? sizeof(one.in) : sizeof(one.in6));
        struct ip_addr ip = sock_addr_ip(&one);
        if (ip_equal(&ip, &addr))
            return true;
    }
    return false;
}

/* The attributes of a nest by their types. */
static void index_nest(const struct nlattr *nest, const struct nlattr **by_type, uint16_t max)
{
    const struct nlattr *attr;
    mnl_attr_for_each_nested(attr, nest)
    {
        if (mnl_attr_get_type(attr) <= max)
            by_type[mnl_attr_get_type(attr)] = attr;
    }
}

static bool read_address(const struct nlattr *v4, const struct nlattr *v6, const struct nlattr *port,
                         struct sock_addr *ret)
{
    struct ip_addr addr;
    if (v4 && mnl_attr_get_payload_len(v4) == 4)
        addr = ip_from_v4(mnl_attr_get_payload(v4));
    else if (v6 && mnl_attr_get_payload_len(v6) == 16)
        addr = ip_from_v6(mnl_attr_get_payload(v6));
    else
        return false;
    if (!port || mnl_attr_get_payload_len(port) != 2)
        return false;
    *ret = sock_addr_make(&addr, ntohs(mnl_attr_get_u16(port)));
    return true;
}

/* False for protocols without ports, and for zones. */
static bool read_tuple(const struct nlattr *tuple, uint8_t *protocol, struct sock_addr *source,
                       struct sock_addr *destination)
{
    const struct nlattr *parts[CTA_TUPLE_MAX + 1] = {0}, *ip[CTA_IP_MAX + 1] = {0}, *proto[CTA_PROTO_MAX + 1] = {0};
    if (!tuple)
        return false;
    index_nest(tuple, parts, CTA_TUPLE_MAX);
    if (!parts[CTA_TUPLE_IP] || !parts[CTA_TUPLE_PROTO] || parts[CTA_TUPLE_ZONE])
        return false;
    index_nest(parts[CTA_TUPLE_IP], ip, CTA_IP_MAX);
    index_nest(parts[CTA_TUPLE_PROTO], proto, CTA_PROTO_MAX);
    if (!proto[CTA_PROTO_NUM] || mnl_attr_get_payload_len(proto[CTA_PROTO_NUM]) != 1)
        return false;
    *protocol = mnl_attr_get_u8(proto[CTA_PROTO_NUM]);
    return (*protocol == IPPROTO_TCP || *protocol == IPPROTO_UDP) &&
           read_address(ip[CTA_IP_V4_SRC], ip[CTA_IP_V6_SRC], proto[CTA_PROTO_SRC_PORT], source) &&
           read_address(ip[CTA_IP_V4_DST], ip[CTA_IP_V6_DST], proto[CTA_PROTO_DST_PORT], destination);
}

static int take_entry(void *ctx, const struct nlmsghdr *answer)
{
    const struct finder *finder = ctx;
    const struct nlattr *parts[CTA_MAX + 1] = {0}, *attr;
    mnl_attr_for_each(attr, answer, sizeof(struct nfgenmsg))
    {
        if (mnl_attr_get_type(attr) <= CTA_MAX)
            parts[mnl_attr_get_type(attr)] = attr;
    }
    struct flow flow = {0};
    struct sock_addr back;
    uint8_t protocol;
    if (parts[CTA_ZONE] || !parts[CTA_ID] || mnl_attr_get_payload_len(parts[CTA_ID]) != 4 ||
        !read_tuple(parts[CTA_TUPLE_ORIG], &flow.protocol, &flow.local, &flow.remote) ||
        !read_tuple(parts[CTA_TUPLE_REPLY], &protocol, &flow.peer, &back) || !is_own(finder, &flow.local) ||
        is_own(finder, &flow.peer) || !finder->wanted(finder->ctx, &flow.peer))
        return 0;
    flow.id = mnl_attr_get_u32(parts[CTA_ID]);
    flow.tuple_len = mnl_attr_get_payload_len(parts[CTA_TUPLE_ORIG]);
    if (flow.tuple_len > sizeof(flow.tuple))
        return 0;
    memcpy(flow.tuple, mnl_attr_get_payload(parts[CTA_TUPLE_ORIG]), flow.tuple_len);
    buf_append(finder->flows, &flow, sizeof(flow));
    return finder->flows->failed ? -ENOMEM : 0;
}

static struct nlmsghdr *question(void *room, uint16_t type, uint16_t flags, uint8_t family)
{
    struct nlmsghdr *nlh = mnl_nlmsg_put_header(room);
    nlh->nlmsg_type = (uint16_t)(NFNL_SUBSYS_CTNETLINK << 8 | type);
    nlh->nlmsg_flags = NLM_F_REQUEST | flags;
    struct nfgenmsg *head = mnl_nlmsg_put_extra_header(nlh, sizeof(*head));
    head->nfgen_family = family;
    return nlh;
}

int flows_find(struct conn *conn, bool (*wanted)(void *ctx, const struct sock_addr *peer), void *ctx, struct buf *ret,
               struct why *why)
{
    _Alignas(struct nlmsghdr) char room[64];
    struct ifaddrs *own;
    if (getifaddrs(&own))
        return why_set(why, -errno, "cannot list own addresses: %s", strerror(errno));
    struct finder finder = {.wanted = wanted, .ctx = ctx, .flows = ret, .own = own};
    struct nlmsghdr *nlh = question(room, IPCTNL_MSG_CT_GET, NLM_F_DUMP, AF_UNSPEC);
    int error = conn_ask(conn, room, nlh->nlmsg_len, take_entry, &finder, why);
    freeifaddrs(own);
    return error;
}

static int nothing(void *ctx, const struct nlmsghdr *answer)
{
    return 0;
}

static int delete_entry(struct conn *conn, const struct flow *flow, struct why *why)
{
    _Alignas(struct nlmsghdr) char room[256];
    struct nlmsghdr *nlh = question(room, IPCTNL_MSG_CT_DELETE, NLM_F_ACK, flow->local.sa.sa_family);
    mnl_attr_put(nlh, NLA_F_NESTED | CTA_TUPLE_ORIG, flow->tuple_len, flow->tuple);
    mnl_attr_put_u32(nlh, CTA_ID, flow->id);
    int error = conn_ask(conn, room, nlh->nlmsg_len, nothing, NULL, why);
    return error == -ENOENT ? 0 : error;
}

/* --- sockets --- */

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
    if (nlh->nlmsg_type == NLMSG_ERROR && nlh->nlmsg_len >= NLMSG_LENGTH(sizeof(struct nlmsgerr)))
        return ((const struct nlmsgerr *)mnl_nlmsg_get_payload(nlh))->error;
    if (type == SOCK_DESTROY || nlh->nlmsg_len < NLMSG_LENGTH(sizeof(*ret)))
        return -EBADMSG;
    memcpy(ret, mnl_nlmsg_get_payload(nlh), sizeof(*ret));
    return 0;
}

/* Looks before it destroys: the kernel would take a listening socket, or one that talks to many, for want of another.
 * True when there is no socket of this flow any more. */
static bool destroy_socket(int fd, const struct flow *flow)
{
    struct inet_diag_msg found;
    struct inet_diag_sockid id = socket_id(&flow->local, &flow->remote);
    /* Looking for a UDP socket wants the ends the other way round, destroying it does not. */
    struct inet_diag_sockid wanted = flow->protocol == IPPROTO_UDP ? socket_id(&flow->remote, &flow->local) : id;
    int error = ask_diag(fd, SOCK_DIAG_BY_FAMILY, flow, &wanted, &found);
    if (error)
        return error == -ENOENT;
    if (found.id.idiag_dport != id.idiag_dport)
        return flow->protocol == IPPROTO_TCP;
    memcpy(id.idiag_cookie, found.id.idiag_cookie, sizeof(id.idiag_cookie));
    error = ask_diag(fd, SOCK_DESTROY, flow, &id, NULL);
    return !error || error == -ENOENT;
}

int flows_end(struct conn *conn, const struct buf *flows, struct why *why)
{
    const struct flow *flow = (const struct flow *)flows->data;
    _cleanup_close_ int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
    for (size_t left = flows->len / sizeof(*flow); left > 0; left--, flow++) {
        bool gone = fd >= 0 && destroy_socket(fd, flow);
        /* While the entry is there, all packets of the flow have the sandbox as their origin and are refused. Without
         * it the server's next one would make an entry of a connection from outside, whose replies pass. With TCP that
         * reply is the reset which ends it, provided that the socket is gone. */
        if (!gone || flow->protocol != IPPROTO_TCP)
            continue;
        int error = delete_entry(conn, flow, why);
        if (error)
            return error;
    }
    return 0;
}
