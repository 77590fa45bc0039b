#include "nft/dropped.h"

#include "nft/changes.h"
#include "nft/elements.h"

#include <linux/netfilter/nf_tables.h>

/* At once: what is added beyond a full set must fit into its slack (plan.c). */
#define RUN 1024

void dropped_done(struct dropped *dropped)
{
    buf_done(&dropped->fresh);
    buf_done(&dropped->due);
}

void dropped_add(struct dropped *dropped, const struct ip_addr *addr, bool revoked)
{
    if (revoked || dropped->fresh.len < DROPPED_ENDED_MAX * sizeof(*addr))
        buf_append(&dropped->fresh, addr, sizeof(*addr));
}

static bool is_among(const struct buf *addresses, const struct ip_addr *wanted)
{
    const struct ip_addr *addr = (const struct ip_addr *)addresses->data;
    size_t left = addresses->len / sizeof(*addr);
    while (left > 0 && !ip_equal(addr, wanted)) {
        left--;
        addr++;
    }
    return left > 0;
}

bool dropped_has(const struct dropped *dropped, const struct ip_addr *addr)
{
    return is_among(&dropped->fresh, addr) || is_among(&dropped->due, addr);
}

static size_t encode_run(const struct ip_addr *run, size_t n, const struct leases *leases, enum timed_set set,
                         uint16_t type, struct batch *batch)
{
    struct elements elements = {.batch = batch, .set = timed_set_name(set), .type = type};
    size_t n_put = 0;
    for (const struct ip_addr *addr = run; addr < run + n; addr++) {
        if (allow_set(addr->family) != set || leases_find(leases, addr))
            continue;
        elements_put(&elements, &(struct element){.key = addr->bytes, .size = ip_size(addr->family)});
        n_put++;
    }
    elements_end(&elements);
    return n_put;
}

/* Deleting what is missing would be an error, so what is there or not is added first. */
size_t dropped_encode_again(const struct dropped *dropped, const struct leases *v4, const struct leases *v6,
                            struct batch *batch)
{
    const struct ip_addr *all = (const struct ip_addr *)dropped->due.data;
    size_t left = dropped->due.len / sizeof(*all), n_put = 0;
    for (size_t n; left > 0; all += n, left -= n) {
        n = left < RUN ? left : RUN;
        encode_run(all, n, v4, ALLOW_V4, NFT_MSG_NEWSETELEM, batch);
        encode_run(all, n, v6, ALLOW_V6, NFT_MSG_NEWSETELEM, batch);
        n_put += encode_run(all, n, v4, ALLOW_V4, NFT_MSG_DELSETELEM, batch);
        n_put += encode_run(all, n, v6, ALLOW_V6, NFT_MSG_DELSETELEM, batch);
    }
    return n_put;
}

void dropped_again_done(struct dropped *dropped)
{
    struct buf done = dropped->due;
    dropped->due = dropped->fresh;
    dropped->fresh = done;
    buf_clear(&dropped->fresh);
}
