/* Preloaded: the kernel says of the netdev egress hook what one before 5.16 does, since it is asked for a hook that no
 * kernel has. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

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

static void change(struct nlmsghdr *nlh)
{
    const struct nfgenmsg *head = mnl_nlmsg_get_payload(nlh);
    struct nlattr *attr;
    if (nlh->nlmsg_type != (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWCHAIN) || head->nfgen_family != NFPROTO_NETDEV)
        return;
    mnl_attr_for_each(attr, nlh, sizeof(*head))
    {
        if (mnl_attr_get_type(attr) == NFTA_CHAIN_HOOK)
            change_hook(attr);
    }
}

ssize_t mnl_socket_sendto(const struct mnl_socket *socket, const void *data, size_t size)
{
    ssize_t (*real)(const struct mnl_socket *, const void *, size_t) = dlsym(RTLD_NEXT, "mnl_socket_sendto");
    int left = (int)size;
    for (struct nlmsghdr *nlh = (struct nlmsghdr *)data; mnl_nlmsg_ok(nlh, left); nlh = mnl_nlmsg_next(nlh, &left))
        change(nlh);
    return real(socket, data, size);
}
