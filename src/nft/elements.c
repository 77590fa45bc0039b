#include "nft/elements.h"

#include "base/wire.h"

#include <arpa/inet.h>
#include <endian.h>
#include <libnftnl/common.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <string.h>

/* Attribute lengths have 16 bits, and a list that outgrows them breaks without an error. */
#define MESSAGE_FULL 32000

_Static_assert(MESSAGE_FULL + 1024 < BATCH_MESSAGE_MAX, "an element fits into a message that is not full");

/* nft's comment in the userdata of elements (libnftnl, udata.h: NFTNL_UDATA_SET_ELEM_COMMENT). */
#define USERDATA_COMMENT 0

static void put_comment(struct nlmsghdr *nlh, const char *comment)
{
    size_t len = strlen(comment) + 1;
    uint8_t userdata[2 + COMMENT_MAX + 1] = {USERDATA_COMMENT, (uint8_t)len};
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

void elements_put_range(struct elements *elements, const struct ip_range *range)
{
    size_t size = ip_size(range->first.family);
    elements_put(elements, &(struct element){.key = range->first.bytes, .size = size});
    /* The end is the first address outside; a range up to the highest address has none. */
    struct ip_addr end;
    if (ip_next(&range->last, &end))
        elements_put(elements, &(struct element){.key = end.bytes, .size = size, .flags = NFT_SET_ELEM_INTERVAL_END});
}

void elements_put_ranges(struct batch *batch, const char *set, const struct ip_range *ranges, size_t n)
{
    struct elements elements = {.batch = batch, .type = NFT_MSG_NEWSETELEM, .set = set};
    for (size_t i = 0; i < n; i++)
        elements_put_range(&elements, &ranges[i]);
    elements_end(&elements);
}

static void read_key(const struct nlattr *key, struct element *element)
{
    const struct nlattr *attr;
    mnl_attr_for_each_nested(attr, key)
    {
        if (mnl_attr_get_type(attr) != NFTA_DATA_VALUE)
            continue;
        element->key = mnl_attr_get_payload(attr);
        element->size = mnl_attr_get_payload_len(attr);
    }
}

/* The comment among the records (type, length, value) of an element's userdata. */
static const char *read_comment(const struct nlattr *userdata)
{
    struct wire wire = wire_init(mnl_attr_get_payload(userdata), mnl_attr_get_payload_len(userdata));
    while (wire_left(&wire)) {
        uint8_t type = wire_u8(&wire), len = wire_u8(&wire);
        const uint8_t *value = wire_take(&wire, len);
        if (!value)
            return NULL;
        if (type == USERDATA_COMMENT)
            return len && value[len - 1] == '\0' ? (const char *)value : NULL;
    }
    return NULL;
}

struct element element_read(const struct nlattr *item)
{
    struct element element = {0};
    const struct nlattr *attr;
    mnl_attr_for_each_nested(attr, item)
    {
        uint16_t type = mnl_attr_get_type(attr);
        if (type == NFTA_SET_ELEM_KEY)
            read_key(attr, &element);
        else if (type == NFTA_SET_ELEM_FLAGS && mnl_attr_validate(attr, MNL_TYPE_U32) >= 0)
            element.flags = ntohl(mnl_attr_get_u32(attr));
        else if (type == NFTA_SET_ELEM_EXPIRATION && mnl_attr_validate(attr, MNL_TYPE_U64) >= 0)
            element.timeout_ms = be64toh(mnl_attr_get_u64(attr));
        else if (type == NFTA_SET_ELEM_USERDATA)
            element.comment = read_comment(attr);
    }
    return element;
}

int elements_read(void *ctx, const struct nlmsghdr *answer)
{
    const struct element_reader *reader = ctx;
    const struct nlattr *attr, *item;
    mnl_attr_for_each(attr, answer, sizeof(struct nfgenmsg))
    {
        if (mnl_attr_get_type(attr) != NFTA_SET_ELEM_LIST_ELEMENTS)
            continue;
        mnl_attr_for_each_nested(item, attr)
        {
            struct element element = element_read(item);
            int error = reader->take(reader->ctx, &element);
            if (error)
                return error;
        }
    }
    return 0;
}

struct nlmsghdr *elements_question(void *room, const char *set, uint16_t flags)
{
    struct nlmsghdr *nlh = nftnl_nlmsg_build_hdr(room, NFT_MSG_GETSETELEM, NFPROTO_INET, flags, 0);
    mnl_attr_put_strz(nlh, NFTA_SET_ELEM_LIST_TABLE, NFT_TABLE);
    mnl_attr_put_strz(nlh, NFTA_SET_ELEM_LIST_SET, set);
    return nlh;
}
