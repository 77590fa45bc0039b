/* What the parts of nft.h share: nft.c (start, policies, learning) and nft_keep.c (looking after the table). */
#ifndef NFT_NFT_STATE_H
#define NFT_NFT_STATE_H

#include "nft/changes.h"
#include "nft/conn.h"
#include "nft/nft.h"

struct nft {
    const struct nft_settings *settings;
    struct conn *conn;
    struct batch *batch; /* for learning, whose transactions are small */
    struct changes *changes;
    struct nft_policy policy;  /* in force; its ranges are ours */
    struct nft_policy settled; /* what was in force when nft_settle() was last called; its ranges, too */
    bool is_settled;           /* `settled` is `policy`, and empty here */
    bool no_zones;             /* the kernel has no conntrack zones */
    struct buf snapshot;       /* of the table as we made it; empty: not known */
    bool damaged;              /* the table may not be what we made it */
    struct why harm;           /* what was done to it, if that is known */
    uint64_t look_after_ns;    /* not to be compared before */
};

/* Sends what was collected in `changes` together with what is in `batch`, and follows the kernel's verdict. */
int nft_commit_changes(struct nft *nft, struct batch *batch, uint64_t now_ns, struct why *why);
/* Remembers what the table looks like, unless others change it just now. Not to be called when others may have since
 * our newest transaction but one. */
void nft_remember_table(struct nft *nft);

#define ENDED_PER_CHANGE 4096

#endif
