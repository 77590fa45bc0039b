#include "nft/batch.h"

#include <errno.h>
#include <libnftnl/common.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>

struct batch {
    struct buf bytes;
    uint32_t n_messages; /* in `bytes` */
    size_t last_at;      /* where the newest message in `bytes` starts */
    uint32_t set_id;
    uint32_t n_rules;
    uint8_t family;
    struct nlmsghdr *open;
    /* A message is built here, where the libraries may write without asking for room, and then copied. */
    _Alignas(struct nlmsghdr) char room[BATCH_MESSAGE_MAX];
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
    batch->n_rules = 0;
    batch->family = NFPROTO_INET;
    batch->open = nftnl_batch_begin(batch->room, 0);
}

struct nlmsghdr *batch_message(struct batch *batch, uint16_t type, uint16_t flags)
{
    close_message(batch);
    batch->n_rules += type == NFT_MSG_NEWRULE;
    batch->open = nftnl_nlmsg_build_hdr(batch->room, type, batch->family, flags, 0);
    return batch->open;
}

void batch_set_family(struct batch *batch, uint8_t family)
{
    batch->family = family;
}

void batch_fail(struct batch *batch)
{
    batch->bytes.failed = true;
}

uint32_t batch_next_set_id(struct batch *batch)
{
    return ++batch->set_id;
}

uint32_t batch_rules(const struct batch *batch)
{
    return batch->n_rules;
}

int batch_end(struct batch *batch)
{
    close_message(batch);
    if (batch->bytes.failed)
        return -ENOMEM;
    struct nlmsghdr *last = (struct nlmsghdr *)(batch->bytes.data + batch->last_at);
    last->nlmsg_flags |= NLM_F_ACK;
    batch->open = nftnl_batch_end(batch->room, 0);
    close_message(batch);
    return batch->bytes.failed ? -ENOMEM : 0;
}

struct buf *batch_bytes(struct batch *batch, uint32_t *ret_acked)
{
    *ret_acked = batch->n_messages - 2; /* the last is END, which old kernels never acknowledge */
    return &batch->bytes;
}
