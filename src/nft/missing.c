#include "nft/missing.h"

#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdio.h>
#include <string.h>

struct part {
    const char *name, *module, *config;
};

/* Those that kernels have as modules. The others are in nf_tables itself. */
static const struct part expressions[] = {
    {"ct", "nft_ct", "CONFIG_NFT_CT"},
    {"notrack", "nft_ct", "CONFIG_NFT_CT"},
    {"fib", "nft_fib_inet", "CONFIG_NFT_FIB_INET"},
    {"reject", "nft_reject_inet", "CONFIG_NFT_REJECT_INET"},
    {"redir", "nft_redir", "CONFIG_NFT_REDIR"},
    {"objref", "nft_objref", "CONFIG_NFT_OBJREF"},
    {"counter", "nft_counter", "CONFIG_NFT_COUNTER"},
    {"log", "nft_log", "CONFIG_NFT_LOG"},
    {"limit", "nft_limit", "CONFIG_NFT_LIMIT"},
    {"socket", "nft_socket", "CONFIG_NFT_SOCKET"},
};
static const struct part nat = {"chain type nat", "nft_chain_nat", "CONFIG_NFT_NAT"};
static const struct part filter = {"chain type filter", "nf_tables", "CONFIG_NF_TABLES_INET"};
static const struct part egress_hook = {"netdev egress hook", "nf_tables", "CONFIG_NETFILTER_EGRESS"};
static const struct part counters = {"counters", "nft_counter", "CONFIG_NFT_COUNTER"};
static const struct part inet = {"family inet", "nf_tables", "CONFIG_NF_TABLES_INET"};
static const struct part netdev = {"family netdev", "nf_tables", "CONFIG_NF_TABLES_NETDEV"};

static bool is(const struct part *part, struct missing *ret)
{
    snprintf(ret->part, sizeof(ret->part), "%s", part->name);
    ret->module = part->module;
    ret->config = part->config;
    return true;
}

static bool is_expression(const struct nlattr *element, struct missing *ret)
{
    const struct nlattr *attr;
    mnl_attr_for_each_nested(attr, element)
    {
        if (mnl_attr_get_type(attr) != NFTA_EXPR_NAME || mnl_attr_validate(attr, MNL_TYPE_NUL_STRING) < 0)
            continue;
        for (size_t i = 0; i < sizeof(expressions) / sizeof(expressions[0]); i++) {
            if (strcmp(mnl_attr_get_str(attr), expressions[i].name))
                continue;
            is(&expressions[i], ret);
            snprintf(ret->part, sizeof(ret->part), "expression %s", expressions[i].name);
            return true;
        }
    }
    return false;
}

static bool from_rule(const struct nlmsghdr *message, size_t offset, struct missing *ret)
{
    const struct nlattr *attr, *element;
    mnl_attr_for_each(attr, message, sizeof(struct nfgenmsg))
    {
        if (mnl_attr_get_type(attr) != NFTA_RULE_EXPRESSIONS)
            continue;
        mnl_attr_for_each_nested(element, attr)
        {
            size_t at = (size_t)((const char *)element - (const char *)message);
            bool meant = !offset || (offset >= at && offset < at + mnl_attr_get_len(element));
            if (meant && is_expression(element, ret))
                return true;
        }
    }
    return false;
}

static bool from_chain(const struct nlmsghdr *message, int error, struct missing *ret)
{
    const struct nfgenmsg *head = mnl_nlmsg_get_payload(message);
    const struct nlattr *attr;
    const struct part *part = NULL;
    mnl_attr_for_each(attr, message, sizeof(*head))
    {
        if (mnl_attr_get_type(attr) == NFTA_CHAIN_TYPE && mnl_attr_validate(attr, MNL_TYPE_NUL_STRING) >= 0)
            part = strcmp(mnl_attr_get_str(attr), nat.name + sizeof("chain type")) ? &filter : &nat;
    }
    if (part && head->nfgen_family == NFPROTO_NETDEV) /* its devices may be gone, too, which is ENOENT */
        part = error == -EOPNOTSUPP ? &egress_hook : NULL;
    return part && is(part, ret);
}

bool missing_from(const struct nlmsghdr *message, size_t offset, int error, struct missing *ret)
{
    const struct nfgenmsg *head = mnl_nlmsg_get_payload(message);
    if ((error != -ENOENT && error != -EOPNOTSUPP) || message->nlmsg_type >> 8 != NFNL_SUBSYS_NFTABLES)
        return false;
    switch (message->nlmsg_type & 0xff) {
    case NFT_MSG_NEWRULE:
        return from_rule(message, offset, ret);
    case NFT_MSG_NEWCHAIN:
        return from_chain(message, error, ret);
    case NFT_MSG_NEWOBJ:
        return is(&counters, ret);
    case NFT_MSG_NEWTABLE:
        return error == -EOPNOTSUPP && is(head->nfgen_family == NFPROTO_NETDEV ? &netdev : &inet, ret);
    }
    return false;
}
