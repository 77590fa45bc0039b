/* Preloaded: the kernel says what one says that lacks something, since it is asked for what no kernel has.
 *
 *   LACKS=egress   the netdev egress hook (before 5.16)
 *   LACKS=log      the expression of that name (without the module nft_log)
 *   LACKS=NAME     any other expression (ct, fib, reject, redir, objref, limit), or the chain type nat
 *   LACKS=ctnetlink  conntrack's entries cannot be asked for (without nf_conntrack_netlink)
 *   LACKS=inet_diag  nor sockets listed
 *   LACKS=nf_tables  neither can nf_tables
 *   LACKS=bulk     datagrams that are divided on their way (UDP_SEGMENT, before 4.18) */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define NO_HOOK 4 /* of netdev: ingress is 0, egress 1 */

static bool lacks(const char *what)
{
    return strcmp(getenv("LACKS"), what) == 0;
}

static void change_hook(const struct nlattr *hook)
{
    struct nlattr *attr;
    mnl_attr_for_each_nested(attr, hook)
    {
        if (mnl_attr_get_type(attr) == NFTA_HOOK_HOOKNUM)
            *(uint32_t *)mnl_attr_get_payload(attr) = htonl(NO_HOOK);
    }
}

static void change_expression(const struct nlattr *expression)
{
    struct nlattr *attr;
    mnl_attr_for_each_nested(attr, expression)
    {
        if (mnl_attr_get_type(attr) == NFTA_EXPR_NAME && lacks(mnl_attr_get_str(attr)))
            *(char *)mnl_attr_get_payload(attr) = '!';
    }
}

static void change_rule(struct nlmsghdr *nlh)
{
    struct nlattr *attr, *expression;
    mnl_attr_for_each(attr, nlh, sizeof(struct nfgenmsg))
    {
        if (mnl_attr_get_type(attr) == NFTA_RULE_EXPRESSIONS)
            mnl_attr_for_each_nested(expression, attr) change_expression(expression);
    }
}

static void change_chain(struct nlmsghdr *nlh)
{
    struct nlattr *attr;
    mnl_attr_for_each(attr, nlh, sizeof(struct nfgenmsg))
    {
        if (mnl_attr_get_type(attr) == NFTA_CHAIN_HOOK && lacks("egress"))
            change_hook(attr);
        if (mnl_attr_get_type(attr) == NFTA_CHAIN_TYPE && lacks(mnl_attr_get_str(attr)))
            *(char *)mnl_attr_get_payload(attr) = '!';
    }
}

static void change(struct nlmsghdr *nlh)
{
    const struct nfgenmsg *head = mnl_nlmsg_get_payload(nlh);
    if (lacks(nlh->nlmsg_type >> 8 == NFNL_SUBSYS_CTNETLINK ? "ctnetlink" : "nf_tables") &&
        (nlh->nlmsg_type >> 8 == NFNL_SUBSYS_CTNETLINK || nlh->nlmsg_type >> 8 == NFNL_SUBSYS_NFTABLES))
        nlh->nlmsg_type = (uint16_t)(0xfe << 8 | (nlh->nlmsg_type & 0xff));
    if (nlh->nlmsg_type == (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWRULE))
        change_rule(nlh);
    if (nlh->nlmsg_type == (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWCHAIN) &&
        (lacks("nat") || head->nfgen_family == NFPROTO_NETDEV))
        change_chain(nlh);
}

int socket(int family, int type, int protocol)
{
    int (*real)(int, int, int) = dlsym(RTLD_NEXT, "socket");
    if (!lacks("inet_diag") || family != AF_NETLINK || protocol != NETLINK_SOCK_DIAG)
        return real(family, type, protocol);
    errno = EPROTONOSUPPORT;
    return -1;
}

int sendmmsg(int fd, struct mmsghdr *messages, unsigned n, int flags)
{
    int (*real)(int, struct mmsghdr *, unsigned, int) = dlsym(RTLD_NEXT, "sendmmsg");
    unsigned plain = 0;
    while (plain < n && !messages[plain].msg_hdr.msg_controllen)
        plain++;
    if (plain || !lacks("bulk"))
        return real(fd, messages, plain ? plain : n, flags);
    errno = EINVAL;
    return -1;
}

ssize_t mnl_socket_sendto(const struct mnl_socket *socket, const void *data, size_t size)
{
    ssize_t (*real)(const struct mnl_socket *, const void *, size_t) = dlsym(RTLD_NEXT, "mnl_socket_sendto");
    void *copy = memcpy(malloc(size), data, size); /* the sender may want to read what it has sent */
    int left = (int)size;
    for (struct nlmsghdr *nlh = copy; mnl_nlmsg_ok(nlh, left); nlh = mnl_nlmsg_next(nlh, &left))
        change(nlh);
    ssize_t sent = real(socket, copy, size);
    free(copy);
    return sent;
}
