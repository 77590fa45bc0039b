#include "nft/flows.h"

#include "nft/devices.h"
#include "nft/own.h"
#include "nft/ports.h"
#include "nft/sockets.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_conntrack_tcp.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <string.h>
#include <unistd.h>

/* Until the flow's next packet. */
#define REMEMBERED_TCP_S 432000 /* the kernel's own, nf_conntrack_tcp_timeout_established */
#define REMEMBERED_UDP_S 120    /* nf_conntrack_udp_timeout_stream */

struct finder {
    bool (*meant)(const struct finder *finder, const struct flow *flow);
    int (*take)(void *ctx, struct buf *flows);
    void *ctx;
    struct buf flows; /* not handed over yet */
    const struct ifaddrs *own;
};

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
    *ret = sock_addr_make(&addr, port && mnl_attr_get_payload_len(port) == 2 ? ntohs(mnl_attr_get_u16(port)) : 0);
    return true;
}

/* False for zones. Protocols without ports have the port 0. */
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
    return read_address(ip[CTA_IP_V4_SRC], ip[CTA_IP_V6_SRC], proto[CTA_PROTO_SRC_PORT], source) &&
           read_address(ip[CTA_IP_V4_DST], ip[CTA_IP_V6_DST], proto[CTA_PROTO_DST_PORT], destination);
}

/* The sandbox opened it. */
static bool is_outgoing(const struct finder *finder, const struct flow *flow)
{
    return own_has(finder->own, &flow->local) && !own_has(finder->own, &flow->peer);
}

/* A question to a resolver that was not redirected; or an answer whose question was never seen, so that it made the
 * entry, in which the next question would be a reply to a connection from outside. */
static bool is_unseen_dns(const struct finder *finder, const struct flow *flow)
{
    if (!own_has(finder->own, &flow->local))
        return sock_addr_port(&flow->local) == PORT_DNS;
    return sock_addr_port(&flow->remote) == PORT_DNS && sock_addr_port(&flow->peer) == PORT_DNS;
}

/* The kernel has it that somebody outside opened it. A TCP connection says whether that is so: of one that it found
 * under way it does not compare the windows. Datagrams do not say it. */
static bool is_doubtful(const struct finder *finder, const struct flow *flow)
{
    return !own_has(finder->own, &flow->local) && own_has(finder->own, &flow->peer) && flow->protocol != IPPROTO_ICMP &&
           flow->protocol != IPPROTO_ICMPV6 && (flow->protocol != IPPROTO_TCP || flow->picked_up);
}

static void read_tcp(const struct nlattr *protoinfo, struct flow *flow)
{
    const struct nlattr *protocols[CTA_PROTOINFO_MAX + 1] = {0}, *tcp[CTA_PROTOINFO_TCP_MAX + 1] = {0};
    if (protoinfo)
        index_nest(protoinfo, protocols, CTA_PROTOINFO_MAX);
    if (protocols[CTA_PROTOINFO_TCP])
        index_nest(protocols[CTA_PROTOINFO_TCP], tcp, CTA_PROTOINFO_TCP_MAX);
    const struct nlattr *state = tcp[CTA_PROTOINFO_TCP_STATE], *flags = tcp[CTA_PROTOINFO_TCP_FLAGS_ORIGINAL];
    /* TCP connections stay in the list for minutes after their end. */
    flow->over = state && mnl_attr_get_payload_len(state) == 1 && mnl_attr_get_u8(state) >= TCP_CONNTRACK_LAST_ACK &&
                 mnl_attr_get_u8(state) <= TCP_CONNTRACK_CLOSE;
    struct nf_ct_tcp_flags options = {0};
    if (flags && mnl_attr_get_payload_len(flags) >= sizeof(options))
        memcpy(&options, mnl_attr_get_payload(flags), sizeof(options));
    flow->picked_up = options.flags & IP_CT_TCP_FLAG_BE_LIBERAL;
}

static int hand_over(struct finder *finder)
{
    int error = finder->flows.len ? finder->take(finder->ctx, &finder->flows) : 0;
    buf_clear(&finder->flows);
    return error;
}

static int take_entry(void *ctx, const struct nlmsghdr *answer)
{
    struct finder *finder = ctx;
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
        !read_tuple(parts[CTA_TUPLE_REPLY], &protocol, &flow.peer, &back))
        return 0;
    read_tcp(parts[CTA_PROTOINFO], &flow);
    if (!finder->meant(finder, &flow))
        return 0;
    flow.id = mnl_attr_get_u32(parts[CTA_ID]);
    flow.tuple_len = mnl_attr_get_payload_len(parts[CTA_TUPLE_ORIG]);
    if (flow.tuple_len > sizeof(flow.tuple))
        return 0;
    memcpy(flow.tuple, mnl_attr_get_payload(parts[CTA_TUPLE_ORIG]), flow.tuple_len);
    buf_append(&finder->flows, &flow, sizeof(flow));
    if (finder->flows.failed)
        return -ENOMEM;
    return finder->flows.len < FLOWS_AT_ONCE * sizeof(flow) ? 0 : hand_over(finder);
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

static int take_count(void *ctx, const struct nlmsghdr *answer)
{
    const struct nlattr *attr;
    mnl_attr_for_each(attr, answer, sizeof(struct nfgenmsg))
    {
        if (mnl_attr_get_type(attr) == CTA_STATS_GLOBAL_ENTRIES && mnl_attr_get_payload_len(attr) == 4)
            *(uint32_t *)ctx = ntohl(mnl_attr_get_u32(attr));
    }
    return 0;
}

bool flows_none(struct conn *conn)
{
    _Alignas(struct nlmsghdr) char room[64];
    uint32_t entries = UINT32_MAX;
    struct nlmsghdr *nlh = question(room, IPCTNL_MSG_CT_GET_STATS, NLM_F_ACK, AF_UNSPEC);
    return !conn_ask(conn, room, nlh->nlmsg_len, take_count, &entries, NULL) && !entries;
}

bool flows_listable(struct conn *conn)
{
    _Alignas(struct nlmsghdr) char room[64];
    uint32_t entries;
    struct nlmsghdr *nlh = question(room, IPCTNL_MSG_CT_GET_STATS, NLM_F_ACK, AF_UNSPEC);
    return conn_ask(conn, room, nlh->nlmsg_len, take_count, &entries, NULL) != -EINVAL; /* nobody takes the question */
}

static int list(struct conn *conn, struct finder *finder, struct why *why)
{
    _Alignas(struct nlmsghdr) char room[64];
    _cleanup_own_ struct ifaddrs *own = NULL;
    if (flows_none(conn))
        return 0;
    if (getifaddrs(&own))
        return why_set(why, -errno, "cannot list own addresses: %s", strerror(errno));
    finder->own = own;
    struct nlmsghdr *nlh = question(room, IPCTNL_MSG_CT_GET, NLM_F_DUMP, AF_UNSPEC);
    int error = conn_ask(conn, room, nlh->nlmsg_len, take_entry, finder, why);
    if (!error)
        error = hand_over(finder);
    buf_done(&finder->flows);
    return error;
}

int flows_list(struct conn *conn, int (*take)(void *ctx, struct buf *flows), void *ctx, struct why *why)
{
    struct finder finder = {.meant = is_outgoing, .take = take, .ctx = ctx};
    return list(conn, &finder, why);
}

static int append(void *ctx, struct buf *flows)
{
    struct buf *all = ctx;
    buf_append(all, flows->data, flows->len);
    return all->failed ? -ENOMEM : 0;
}

int flows_find_dns(struct conn *conn, struct buf *ret, struct why *why)
{
    struct finder finder = {.meant = is_unseen_dns, .take = append, .ctx = ret};
    return list(conn, &finder, why);
}

int flows_find_doubtful(struct conn *conn, struct buf *ret, struct why *why)
{
    struct finder finder = {.meant = is_doubtful, .take = append, .ctx = ret};
    return list(conn, &finder, why);
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

int flows_end(struct conn *conn, const struct buf *flows, struct why *why)
{
    const struct flow *flow = (const struct flow *)flows->data;
    _cleanup_close_ int fd = sockets_open();
    _cleanup_devices_ struct if_nameindex *devices = if_nameindex();
    for (size_t left = flows->len / sizeof(*flow); left > 0; left--, flow++) {
        if (fd >= 0 && (flow->protocol == IPPROTO_TCP || flow->protocol == IPPROTO_UDP))
            sockets_destroy(fd, flow, devices);
        /* Whatever became of the socket: what it sends from now on is a new flow to the rules, however long it waits
         * with that. The far end cannot make the entry anew, see chain_inbound(). */
        int error = flow->tuple_len ? delete_entry(conn, flow, why) : 0;
        if (error)
            return error;
    }
    return 0;
}

int flows_forget(struct conn *conn, const struct buf *flows, struct why *why)
{
    const struct flow *flow = (const struct flow *)flows->data;
    int error = 0;
    for (size_t left = flows->len / sizeof(*flow); left > 0 && !error; left--, flow++)
        error = delete_entry(conn, flow, why);
    return error;
}

static void put_tuple(struct nlmsghdr *nlh, uint16_t type, uint8_t protocol, const struct sock_addr *source,
                      const struct sock_addr *destination)
{
    struct ip_addr from = sock_addr_ip(source), to = sock_addr_ip(destination);
    bool v4 = from.family == AF_INET;
    struct nlattr *tuple = mnl_attr_nest_start(nlh, type);
    struct nlattr *part = mnl_attr_nest_start(nlh, CTA_TUPLE_IP);
    mnl_attr_put(nlh, v4 ? CTA_IP_V4_SRC : CTA_IP_V6_SRC, ip_size(from.family), from.bytes);
    mnl_attr_put(nlh, v4 ? CTA_IP_V4_DST : CTA_IP_V6_DST, ip_size(to.family), to.bytes);
    mnl_attr_nest_end(nlh, part);
    part = mnl_attr_nest_start(nlh, CTA_TUPLE_PROTO);
    mnl_attr_put_u8(nlh, CTA_PROTO_NUM, protocol);
    mnl_attr_put_u16(nlh, CTA_PROTO_SRC_PORT, htons(sock_addr_port(source)));
    mnl_attr_put_u16(nlh, CTA_PROTO_DST_PORT, htons(sock_addr_port(destination)));
    mnl_attr_nest_end(nlh, part);
    mnl_attr_nest_end(nlh, tuple);
}

/* As if it had been seen to be opened; windows are not compared, since nothing is known of them. */
static void put_established(struct nlmsghdr *nlh)
{
    const struct nf_ct_tcp_flags liberal = {.flags = IP_CT_TCP_FLAG_BE_LIBERAL, .mask = IP_CT_TCP_FLAG_BE_LIBERAL};
    struct nlattr *info = mnl_attr_nest_start(nlh, CTA_PROTOINFO);
    struct nlattr *tcp = mnl_attr_nest_start(nlh, CTA_PROTOINFO_TCP);
    mnl_attr_put_u8(nlh, CTA_PROTOINFO_TCP_STATE, TCP_CONNTRACK_ESTABLISHED);
    mnl_attr_put(nlh, CTA_PROTOINFO_TCP_FLAGS_ORIGINAL, sizeof(liberal), &liberal);
    mnl_attr_put(nlh, CTA_PROTOINFO_TCP_FLAGS_REPLY, sizeof(liberal), &liberal);
    mnl_attr_nest_end(nlh, tcp);
    mnl_attr_nest_end(nlh, info);
}

int flows_remember(struct conn *conn, const struct buf *flows, struct why *why)
{
    const struct flow *flow = (const struct flow *)flows->data;
    for (size_t left = flows->len / sizeof(*flow); left > 0; left--, flow++) {
        _Alignas(struct nlmsghdr) char room[512];
        bool tcp = flow->protocol == IPPROTO_TCP;
        struct nlmsghdr *nlh =
            question(room, IPCTNL_MSG_CT_NEW, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, flow->local.sa.sa_family);
        put_tuple(nlh, NLA_F_NESTED | CTA_TUPLE_ORIG, flow->protocol, &flow->local, &flow->remote);
        put_tuple(nlh, NLA_F_NESTED | CTA_TUPLE_REPLY, flow->protocol, &flow->remote, &flow->local);
        mnl_attr_put_u32(nlh, CTA_STATUS, htonl(IPS_SEEN_REPLY | IPS_ASSURED | IPS_CONFIRMED));
        mnl_attr_put_u32(nlh, CTA_TIMEOUT, htonl(tcp ? REMEMBERED_TCP_S : REMEMBERED_UDP_S));
        if (tcp)
            put_established(nlh);
        int error = conn_ask(conn, room, nlh->nlmsg_len, nothing, NULL, why);
        if (error && error != -EEXIST) /* it sent something in the meantime */
            return error;
    }
    return 0;
}
