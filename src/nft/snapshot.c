/* A snapshot is text, a line for each part: what it is, its number, and what can change about it, with tabs between. */
#include "nft/snapshot.h"

#include "nft/elements.h"
#include "nft/verify.h"

#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <libnftnl/common.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <string.h>

#define ATTRS_MAX 24
#define TABLE_NAME 1 /* in chains, rules and sets alike: NFTA_CHAIN_TABLE, NFTA_RULE_TABLE, NFTA_SET_TABLE */
#define PART_NAME_MAX 64

struct taking {
    struct buf *lines, *sets; /* `sets`: names of those whose elements are to be listed, each with its NUL */
};

static void index_attributes(const struct nlmsghdr *nlh, const struct nlattr *by_type[ATTRS_MAX])
{
    const struct nlattr *attr;
    mnl_attr_for_each(attr, nlh, sizeof(struct nfgenmsg))
    {
        if (mnl_attr_get_type(attr) < ATTRS_MAX)
            by_type[mnl_attr_get_type(attr)] = attr;
    }
}

/* Names of strangers' making, too. */
static const char *name_of(const struct nlattr *attr)
{
    return attr && mnl_attr_validate(attr, MNL_TYPE_NUL_STRING) >= 0 ? mnl_attr_get_str(attr) : "?";
}

static bool is_ours(const struct nlattr *const by_type[ATTRS_MAX])
{
    return !strcmp(name_of(by_type[TABLE_NAME]), NFT_TABLE);
}

static unsigned long long handle_of(const struct nlattr *attr)
{
    return attr && mnl_attr_validate(attr, MNL_TYPE_U64) >= 0 ? be64toh(mnl_attr_get_u64(attr)) : 0;
}

static uint32_t number_of(const struct nlattr *attr)
{
    return attr && mnl_attr_validate(attr, MNL_TYPE_U32) >= 0 ? ntohl(mnl_attr_get_u32(attr)) : 0;
}

static int lines_state(const struct buf *lines)
{
    return lines->failed ? -ENOMEM : 0;
}

static int take_table(void *ctx, const struct nlmsghdr *answer)
{
    const struct nlattr *attrs[ATTRS_MAX] = {0};
    struct taking *taking = ctx;
    index_attributes(answer, attrs);
    buf_printf(taking->lines, "the table\t%llu\t%u\n", handle_of(attrs[NFTA_TABLE_HANDLE]),
               number_of(attrs[NFTA_TABLE_FLAGS]));
    return lines_state(taking->lines);
}

static int take_chain(void *ctx, const struct nlmsghdr *answer)
{
    const struct nlattr *attrs[ATTRS_MAX] = {0};
    struct taking *taking = ctx;
    index_attributes(answer, attrs);
    if (is_ours(attrs))
        buf_printf(taking->lines, "chain %.*s\t%llu\t%u\n", PART_NAME_MAX, name_of(attrs[NFTA_CHAIN_NAME]),
                   handle_of(attrs[NFTA_CHAIN_HANDLE]), number_of(attrs[NFTA_CHAIN_POLICY]));
    return lines_state(taking->lines);
}

static int take_rule(void *ctx, const struct nlmsghdr *answer)
{
    const struct nlattr *attrs[ATTRS_MAX] = {0};
    struct taking *taking = ctx;
    index_attributes(answer, attrs);
    if (is_ours(attrs))
        buf_printf(taking->lines, "a rule of chain %.*s\t%llu\t\n", PART_NAME_MAX, name_of(attrs[NFTA_RULE_CHAIN]),
                   handle_of(attrs[NFTA_RULE_HANDLE]));
    return lines_state(taking->lines);
}

static int take_set(void *ctx, const struct nlmsghdr *answer)
{
    const struct nlattr *attrs[ATTRS_MAX] = {0};
    struct taking *taking = ctx;
    index_attributes(answer, attrs);
    uint32_t flags = number_of(attrs[NFTA_SET_FLAGS]);
    if (!is_ours(attrs) || flags & NFT_SET_ANONYMOUS)
        return 0; /* bound to a rule, and constant */
    const char *name = name_of(attrs[NFTA_SET_NAME]);
    buf_printf(taking->lines, "set %.*s\t%llu\t%u\n", PART_NAME_MAX, name, handle_of(attrs[NFTA_SET_HANDLE]), flags);
    /* What packets write into is theirs. */
    if (!(flags & (NFT_SET_TIMEOUT | NFT_SET_EVAL)) && !verify_knows(name))
        buf_append(taking->sets, name, strlen(name) + 1);
    return taking->sets->failed ? -ENOMEM : lines_state(taking->lines);
}

static int list(struct conn *conn, uint8_t family, uint16_t type, uint16_t flags,
                int (*take)(void *ctx, const struct nlmsghdr *answer), struct taking *taking, struct why *why)
{
    _Alignas(struct nlmsghdr) char room[128] = {0}; /* padding is sent, too */
    struct nlmsghdr *nlh = nftnl_nlmsg_build_hdr(room, type, family, flags, 0);
    mnl_attr_put_strz(nlh, TABLE_NAME, NFT_TABLE);
    return conn_ask(conn, nlh, nlh->nlmsg_len, take, taking, why);
}

struct element_lines {
    struct buf *lines;
    const char *set;
};

static int take_element(void *ctx, const struct element *element)
{
    struct element_lines *taking = ctx;
    buf_printf(taking->lines, "an element of set %.*s\t", PART_NAME_MAX, taking->set);
    for (size_t i = 0; i < element->size; i++)
        buf_printf(taking->lines, "%02x", ((const uint8_t *)element->key)[i]);
    buf_printf(taking->lines, "\t%x %s\n", element->flags, element->comment ? element->comment : "");
    return lines_state(taking->lines);
}

static int list_elements(struct conn *conn, const struct buf *sets, struct buf *lines, struct why *why)
{
    int error = 0;
    for (size_t at = 0; at < sets->len && !error; at += strlen(sets->data + at) + 1) {
        _Alignas(struct nlmsghdr) char room[512] = {0};
        struct element_lines taking = {.lines = lines, .set = sets->data + at};
        struct element_reader reader = {.take = take_element, .ctx = &taking};
        struct nlmsghdr *question = elements_question(room, taking.set, NLM_F_DUMP);
        error = conn_ask(conn, question, question->nlmsg_len, elements_read, &reader, why);
    }
    return error;
}

/* The table of one family, without elements; nothing when there is none. */
static int take_family(struct conn *conn, uint8_t family, struct taking *taking, struct why *why)
{
    int error = list(conn, family, NFT_MSG_GETTABLE, NLM_F_ACK, take_table, taking, why);
    if (error == -ENOENT || error == -EOPNOTSUPP)
        return 0;
    if (!error)
        error = list(conn, family, NFT_MSG_GETCHAIN, NLM_F_DUMP, take_chain, taking, why);
    if (!error)
        error = list(conn, family, NFT_MSG_GETRULE, NLM_F_DUMP, take_rule, taking, why);
    if (!error)
        error = list(conn, family, NFT_MSG_GETSET, NLM_F_DUMP, take_set, taking, why);
    return error;
}

int snapshot_take(struct conn *conn, struct buf *ret, struct why *why)
{
    _cleanup_buf_ struct buf sets = {0};
    struct taking taking = {.lines = ret, .sets = &sets};
    int error = take_family(conn, NFPROTO_INET, &taking, why);
    if (!error)
        error = take_family(conn, NFPROTO_NETDEV, &taking, why);
    if (!error)
        error = list_elements(conn, &sets, ret, why);
    return error == -ENOENT ? -EINTR : error; /* it was there a moment ago */
}

/* --- differences --- */

struct line {
    const char *text;
    size_t len, what, part; /* of the whole, of what it is, and of that with its number */
};

/* The line at `*at`, which moves on; false at the end. */
static bool next_line(const struct buf *snapshot, size_t *at, struct line *ret)
{
    if (*at >= snapshot->len)
        return false;
    const char *text = snapshot->data + *at, *end = memchr(text, '\n', snapshot->len - *at);
    const char *tab = end ? memchr(text, '\t', (size_t)(end - text)) : NULL;
    const char *second = tab ? memchr(tab + 1, '\t', (size_t)(end - tab - 1)) : NULL;
    if (!second)
        return false;
    *ret = (struct line){
        .text = text, .len = (size_t)(end - text), .what = (size_t)(tab - text), .part = (size_t)(second - text)};
    *at += ret->len + 1;
    return true;
}

enum found { NOT_FOUND, FOUND_CHANGED, FOUND };

static enum found find(const struct buf *snapshot, const struct line *wanted)
{
    enum found found = NOT_FOUND;
    struct line line;
    for (size_t at = 0; found != FOUND && next_line(snapshot, &at, &line);) {
        if (line.part != wanted->part || memcmp(line.text, wanted->text, line.part + 1) != 0)
            continue;
        found = line.len == wanted->len && !memcmp(line.text, wanted->text, line.len) ? FOUND : FOUND_CHANGED;
    }
    return found;
}

bool snapshot_differs(const struct buf *before, const struct buf *after, struct why *ret)
{
    if (before->len == after->len && (!before->len || !memcmp(before->data, after->data, before->len)))
        return false;
    struct line line;
    for (size_t at = 0; next_line(before, &at, &line);) {
        enum found found = find(after, &line);
        if (found == FOUND)
            continue;
        why_set(ret, 0, "%.*s %s", (int)line.what, line.text, found == FOUND_CHANGED ? "changed" : "deleted");
        return true;
    }
    for (size_t at = 0; next_line(after, &at, &line);) {
        if (find(before, &line) == FOUND)
            continue;
        why_set(ret, 0, "%.*s added", (int)line.what, line.text);
        return true;
    }
    return false; /* listed in another order */
}
