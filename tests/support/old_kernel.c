/* Preloaded: the kernel says what one says that lacks something, since it is asked for what no kernel has.
 *
 *   LACKS=egress   the netdev egress hook (before 5.16)
 *   LACKS=log      the expression of that name (without the module nft_log) */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define NO_HOOK 4 /* of netdev: ingress is 0, egress 1 */

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
        if (mnl_attr_get_type(attr) == NFTA_EXPR_NAME && !strcmp(mnl_attr_get_str(attr), "log"))
            memcpy(mnl_attr_get_payload(attr), "bog", 3);
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
        if (mnl_attr_get_type(attr) == NFTA_CHAIN_HOOK)
            change_hook(attr);
    }
}

static void change(struct nlmsghdr *nlh)
{
    const struct nfgenmsg *head = mnl_nlmsg_get_payload(nlh);
    bool log = !strcmp(getenv("LACKS"), "log");
    if (log && nlh->nlmsg_type == (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWRULE))
        change_rule(nlh);
    if (!log && nlh->nlmsg_type == (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWCHAIN) &&
        head->nfgen_family == NFPROTO_NETDEV)
        change_chain(nlh);
}

ssize_t mnl_socket_sendto(const struct mnl_socket *socket, const void *data, size_t size)
{
    ssize_t (*real)(const struct mnl_socket *, const void *, size_t) = dlsym(RTLD_NEXT, "mnl_socket_sendto");
    int left = (int)size;
    for (struct nlmsghdr *nlh = (struct nlmsghdr *)data; mnl_nlmsg_ok(nlh, left); nlh = mnl_nlmsg_next(nlh, &left))
        change(nlh);
    return real(socket, data, size);
}
