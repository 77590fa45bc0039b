#include "nft/elements.h"

#include <arpa/inet.h>
#include <endian.h>
#include <linux/netfilter/nf_tables.h>
#include <string.h>

/* Attribute lengths have 16 bits, and a list that outgrows them breaks without an error. */
#define MESSAGE_FULL 32000

_Static_assert(MESSAGE_FULL + 1024 < BATCH_MESSAGE_MAX, "an element fits into a message that is not full");

/* Type 0 of the userdata of elements is nft's comment (libnftnl, udata.h: NFTNL_UDATA_SET_ELEM_COMMENT). */
static void put_comment(struct nlmsghdr *nlh, const char *comment)
{
    size_t len = strlen(comment) + 1;
    uint8_t userdata[2 + COMMENT_MAX + 1] = {0, (uint8_t)len};
    memcpy(userdata + 2, comment, len);
    mnl_attr_put(nlh, NFTA_SET_ELEM_USERDATA, 2 + len, userdata);
}

static struct nlmsghdr *open_message(struct batch *batch, uint16_t type, const char *set)
{
    struct nlmsghdr *nlh = batch_message(batch, type, type == NFT_MSG_NEWSETELEM ? NLM_F_CREATE : 0);
    mnl_attr_put_strz(nlh, NFTA_SET_ELEM_LIST_TABLE, NFT_TABLE);
    mnl_attr_put_strz(nlh, NFTA_SET_ELEM_LIST_SET, set);
    return nlh;
}

static void open_list(struct elements *elements)
{
    elements->nlh = open_message(elements->batch, elements->type, elements->set);
    if (elements->set_id)
        mnl_attr_put_u32(elements->nlh, NFTA_SET_ELEM_LIST_SET_ID, htonl(elements->set_id));
    elements->list = mnl_attr_nest_start(elements->nlh, NFTA_SET_ELEM_LIST_ELEMENTS);
}

void elements_put(struct elements *elements, const struct element *element)
{
    if (elements->nlh && elements->nlh->nlmsg_len > MESSAGE_FULL)
        elements_end(elements);
    if (!elements->nlh)
        open_list(elements);
    struct nlmsghdr *nlh = elements->nlh;
    struct nlattr *item = mnl_attr_nest_start(nlh, NFTA_LIST_ELEM);
    if (element->flags)
        mnl_attr_put_u32(nlh, NFTA_SET_ELEM_FLAGS, htonl(element->flags));
    struct nlattr *key = mnl_attr_nest_start(nlh, NFTA_SET_ELEM_KEY);
    mnl_attr_put(nlh, NFTA_DATA_VALUE, element->size, element->key);
    mnl_attr_nest_end(nlh, key);
    if (element->timeout_ms)
        mnl_attr_put_u64(nlh, NFTA_SET_ELEM_TIMEOUT, htobe64(element->timeout_ms));
    if (element->comment && *element->comment)
        put_comment(nlh, element->comment);
    mnl_attr_nest_end(nlh, item);
}

void elements_end(struct elements *elements)
{
    if (elements->nlh)
        mnl_attr_nest_end(elements->nlh, elements->list);
    elements->nlh = NULL;
}

void elements_delete_all(struct batch *batch, const char *set)
{
    open_message(batch, NFT_MSG_DELSETELEM, set); /* without a list: all elements */
}

void elements_put_ranges(struct batch *batch, const char *set, const struct ip_range *ranges, size_t n)
{
    struct elements elements = {.batch = batch, .type = NFT_MSG_NEWSETELEM, .set = set};
    for (size_t i = 0; i < n; i++) {
        const struct ip_range *range = &ranges[i];
        size_t size = ip_size(range->first.family);
        elements_put(&elements, &(struct element){.key = range->first.bytes, .size = size});
        /* The end is the first address outside; a range up to the highest address has none. */
        struct ip_addr end;
        if (ip_next(&range->last, &end))
            elements_put(&elements,
                         &(struct element){.key = end.bytes, .size = size, .flags = NFT_SET_ELEM_INTERVAL_END});
    }
    elements_end(&elements);
}
