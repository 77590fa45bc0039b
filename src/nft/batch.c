#include "nft/batch.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <string.h>

/* A message is built here, where libmnl may write without asking for room, and then copied. */
#define MESSAGE_ROOM 65536

struct batch {
    struct buf bytes;
    uint32_t n_messages; /* in `bytes` */
    size_t last_at;      /* where the newest message in `bytes` starts */
    uint32_t set_id;
    struct nlmsghdr *open;
    _Alignas(struct nlmsghdr) uint8_t room[MESSAGE_ROOM];
};

int batch_new(struct batch **ret)
{
    struct batch *batch = calloc(1, sizeof(*batch));
    if (!batch)
        return -ENOMEM;
    *ret = batch;
    return 0;
}

void batch_free(struct batch *batch)
{
    if (!batch)
        return;
    buf_done(&batch->bytes);
    free(batch);
}

static struct nlmsghdr *open_message(struct batch *batch, uint16_t type, uint16_t flags, uint8_t family,
                                     uint16_t resource)
{
    struct nlmsghdr *nlh = mnl_nlmsg_put_header(batch->room);
    nlh->nlmsg_type = type;
    nlh->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
    struct nfgenmsg *header = mnl_nlmsg_put_extra_header(nlh, sizeof(*header));
    header->nfgen_family = family;
    header->version = NFNETLINK_V0;
    header->res_id = htons(resource);
    batch->open = nlh;
    return nlh;
}

static void close_message(struct batch *batch)
{
    batch->last_at = batch->bytes.len;
    buf_append(&batch->bytes, batch->open, batch->open->nlmsg_len);
    batch->n_messages++;
}

void batch_begin(struct batch *batch)
{
    buf_clear(&batch->bytes);
    batch->n_messages = 0;
    batch->set_id = 0;
    open_message(batch, NFNL_MSG_BATCH_BEGIN, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
}

struct nlmsghdr *batch_message(struct batch *batch, uint16_t type, uint16_t flags)
{
    close_message(batch);
    struct nlmsghdr *nlh = open_message(batch, (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | type), flags, NFPROTO_INET, 0);
    mnl_attr_put_strz(nlh, 1, NFT_TABLE);
    return nlh;
}

uint32_t batch_next_set_id(struct batch *batch)
{
    return ++batch->set_id;
}

int batch_end(struct batch *batch)
{
    close_message(batch);
    if (batch->bytes.failed)
        return -ENOMEM;
    struct nlmsghdr *last = (struct nlmsghdr *)(batch->bytes.data + batch->last_at);
    last->nlmsg_flags |= NLM_F_ACK;
    open_message(batch, NFNL_MSG_BATCH_END, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
    close_message(batch);
    return batch->bytes.failed ? -ENOMEM : 0;
}

struct buf *batch_bytes(struct batch *batch, uint32_t *ret_acked)
{
    *ret_acked = batch->n_messages - 2; /* the last is END, which old kernels never acknowledge */
    return &batch->bytes;
}
