#include "nft/table.h"

#include <libnftnl/chain.h>
#include <libnftnl/table.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>

static void table_message(struct batch *batch, uint16_t type, uint16_t flags)
{
    struct nftnl_table *table = nftnl_table_alloc();
    if (!table || nftnl_table_set_str(table, NFTNL_TABLE_NAME, NFT_TABLE))
        batch_fail(batch);
    if (!table)
        return;
    nftnl_table_nlmsg_build_payload(batch_message(batch, type, flags), table);
    nftnl_table_free(table);
}

void table_add(struct batch *batch, uint16_t flags)
{
    table_message(batch, NFT_MSG_NEWTABLE, NLM_F_CREATE | flags);
}

void table_delete(struct batch *batch)
{
    table_message(batch, NFT_MSG_DELTABLE, 0);
}

/* NULL when memory ran out. */
static struct nftnl_chain *chain_begin(struct batch *batch, const char *name)
{
    struct nftnl_chain *chain = nftnl_chain_alloc();
    if (!chain || nftnl_chain_set_str(chain, NFTNL_CHAIN_TABLE, NFT_TABLE) ||
        nftnl_chain_set_str(chain, NFTNL_CHAIN_NAME, name))
        batch_fail(batch);
    return chain;
}

static void chain_end(struct batch *batch, struct nftnl_chain *chain)
{
    nftnl_chain_nlmsg_build_payload(batch_message(batch, NFT_MSG_NEWCHAIN, NLM_F_CREATE), chain);
    nftnl_chain_free(chain);
}

void table_add_chain(struct batch *batch, const char *name)
{
    struct nftnl_chain *chain = chain_begin(batch, name);
    if (chain)
        chain_end(batch, chain);
}

void table_add_base_chain(struct batch *batch, const char *name, const struct table_hook *hook)
{
    struct nftnl_chain *chain = chain_begin(batch, name);
    if (!chain)
        return;
    if (nftnl_chain_set_str(chain, NFTNL_CHAIN_TYPE, hook->type) ||
        (hook->device && nftnl_chain_set_str(chain, NFTNL_CHAIN_DEV, hook->device)))
        batch_fail(batch);
    nftnl_chain_set_u32(chain, NFTNL_CHAIN_HOOKNUM, hook->number);
    nftnl_chain_set_s32(chain, NFTNL_CHAIN_PRIO, hook->priority);
    nftnl_chain_set_u32(chain, NFTNL_CHAIN_POLICY, hook->policy);
    chain_end(batch, chain);
}

void table_add_output_chain(struct batch *batch, const char *name, const char *type, int32_t priority, uint32_t policy)
{
    struct table_hook hook = {.type = type, .number = NF_INET_LOCAL_OUT, .priority = priority, .policy = policy};
    table_add_base_chain(batch, name, &hook);
}

void table_set_policy(struct batch *batch, const char *name, uint32_t policy)
{
    struct nftnl_chain *chain = chain_begin(batch, name);
    if (!chain)
        return;
    nftnl_chain_set_u32(chain, NFTNL_CHAIN_POLICY, policy);
    chain_end(batch, chain);
}
