#include "nft/sets.h"

#include "nft/elements.h"

#include <arpa/inet.h>
#include <linux/netfilter/nf_tables.h>
#include <stdio.h>

#define ANONYMOUS_NAME "__set%d" /* the kernel puts a number in */

static void declare(struct batch *batch, const char *name, uint32_t id, uint32_t flags, enum key_type type,
                    size_t key_size, uint32_t size)
{
    struct nlmsghdr *nlh = batch_message(batch, NFT_MSG_NEWSET, NLM_F_CREATE);
    mnl_attr_put_strz(nlh, NFTA_SET_NAME, name);
    mnl_attr_put_u32(nlh, NFTA_SET_ID, htonl(id));
    mnl_attr_put_u32(nlh, NFTA_SET_FLAGS, htonl(flags));
    mnl_attr_put_u32(nlh, NFTA_SET_KEY_TYPE, htonl(type));
    mnl_attr_put_u32(nlh, NFTA_SET_KEY_LEN, htonl((uint32_t)key_size));
    if (size) {
        struct nlattr *desc = mnl_attr_nest_start(nlh, NFTA_SET_DESC);
        mnl_attr_put_u32(nlh, NFTA_SET_DESC_SIZE, htonl(size));
        mnl_attr_nest_end(nlh, desc);
    }
}

const char *set_name(const char *stem, uint8_t family, char out[SET_NAME_MAX])
{
    snprintf(out, SET_NAME_MAX, "%s_v%d", stem, family == AF_INET ? 4 : 6);
    return out;
}

void set_of_addresses(struct batch *batch, const char *stem, uint8_t family, uint32_t flags, uint32_t size)
{
    char name[SET_NAME_MAX];
    declare(batch, set_name(stem, family, name), batch_next_set_id(batch), flags,
            family == AF_INET ? KEY_IPV4 : KEY_IPV6, ip_size(family), size);
}

uint32_t anonymous_set(struct batch *batch, enum key_type type, const void *values, size_t n)
{
    size_t size = type == KEY_PORT ? 2 : 1;
    uint32_t id = batch_next_set_id(batch);
    declare(batch, ANONYMOUS_NAME, id, NFT_SET_ANONYMOUS | NFT_SET_CONSTANT, type, size, (uint32_t)n);
    struct elements elements = {.batch = batch, .type = NFT_MSG_NEWSETELEM, .set = ANONYMOUS_NAME, .set_id = id};
    for (size_t i = 0; i < n; i++)
        elements_put(&elements, &(struct element){.key = (const uint8_t *)values + i * size, .size = size});
    elements_end(&elements);
    return id;
}
