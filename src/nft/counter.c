#include "nft/counter.h"

#include <arpa/inet.h>
#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <libnftnl/common.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <string.h>

#define QUESTION_SIZE 128

static void put_identity(struct nlmsghdr *nlh, const char *name)
{
    mnl_attr_put_strz(nlh, NFTA_OBJ_TABLE, NFT_TABLE);
    mnl_attr_put_strz(nlh, NFTA_OBJ_NAME, name);
    mnl_attr_put_u32(nlh, NFTA_OBJ_TYPE, htonl(NFT_OBJECT_COUNTER));
}

void counter_declare(struct batch *batch, const char *name)
{
    struct nlmsghdr *nlh = batch_message(batch, NFT_MSG_NEWOBJ, NLM_F_CREATE);
    put_identity(nlh, name);
    mnl_attr_nest_end(nlh, mnl_attr_nest_start(nlh, NFTA_OBJ_DATA)); /* begins at 0 */
}

struct counters {
    const char *const *names;
    uint64_t *packets;
    size_t n, n_read;
};

static int take_counter(void *ctx, const struct nlmsghdr *answer)
{
    struct counters *counters = ctx;
    const struct nlattr *attr, *name = NULL, *packets = NULL, *item;
    mnl_attr_for_each(attr, answer, sizeof(struct nfgenmsg))
    {
        if (mnl_attr_get_type(attr) == NFTA_OBJ_NAME && mnl_attr_validate(attr, MNL_TYPE_NUL_STRING) >= 0)
            name = attr;
        if (mnl_attr_get_type(attr) != NFTA_OBJ_DATA)
            continue;
        mnl_attr_for_each_nested(item, attr)
        {
            if (mnl_attr_get_type(item) == NFTA_COUNTER_PACKETS && mnl_attr_validate(item, MNL_TYPE_U64) >= 0)
                packets = item;
        }
    }
    for (size_t i = 0; name && packets && i < counters->n; i++) {
        if (strcmp(counters->names[i], mnl_attr_get_str(name)) == 0) {
            counters->packets[i] = be64toh(mnl_attr_get_u64(packets));
            counters->n_read++;
        }
    }
    return 0;
}

int counters_read(struct conn *conn, const char *const names[], size_t n, uint64_t ret[])
{
    _Alignas(struct nlmsghdr) uint8_t questions[COUNTERS_MAX * QUESTION_SIZE] = {0}; /* padding is sent, too */
    uint64_t packets[COUNTERS_MAX];
    struct counters counters = {.names = names, .packets = packets, .n = n};
    assert(n <= COUNTERS_MAX);
    size_t len = 0;
    for (size_t i = 0; i < n; i++) {
        uint16_t flags = i + 1 == n ? NLM_F_ACK : 0;
        struct nlmsghdr *nlh = nftnl_nlmsg_build_hdr((char *)questions + len, NFT_MSG_GETOBJ, NFPROTO_INET, flags, 0);
        put_identity(nlh, names[i]);
        len += nlh->nlmsg_len;
    }
    int error = conn_ask(conn, questions, len, take_counter, &counters, NULL);
    if (error)
        return error;
    if (counters.n_read != n)
        return -ENOENT;
    memcpy(ret, packets, n * sizeof(*packets));
    return 0;
}
