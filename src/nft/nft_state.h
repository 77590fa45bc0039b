/* What the parts of nft.h share: nft.c (start, learning), nft_apply.c (policies), nft_keep.c (looking after the table)
 * and nft_settle.c (open flows). */
#ifndef NFT_NFT_STATE_H
#define NFT_NFT_STATE_H

#include "nft/batch.h"
#include "nft/changes.h"
#include "nft/conn.h"
#include "nft/flow_walk.h"
#include "nft/install.h"
#include "nft/nft.h"

#define ENDED_PER_CHANGE 4096
/* An answer to a question that was asked before conntrack looked makes an entry when it comes: look once more when
 * stub resolvers have given up. */
#define DNS_LOOKS 6

struct nft {
    const struct nft_settings *settings;
    struct conn *conn;
    struct conn *asker;  /* of the thread that calls nft_is_behind() */
    struct batch *batch; /* for learning, whose transactions are small */
    struct changes *changes;
    struct install install;
    struct nft_policy policy;  /* in force; its ranges are ours */
    struct nft_policy settled; /* what was in force when flows were last ended; its ranges, too */
    struct nft_policy walked;  /* what was in force when the walk began that another policy has overtaken */
    bool is_settled;           /* `settled` is `policy`, and empty here */
    bool has_settled;          /* flows were ended, and nothing failed since */
    bool revoked_since;        /* addresses were revoked since a walk began */
    bool none_open;            /* the newest walk found no flow at all, or has found none yet */
    uint64_t opened;           /* opened_counter, when it began */
    bool overtaken, has_walked;
    bool has_spared;               /* the walk under way left alone what the policy that overtook it allows */
    struct flow_walk *walk;        /* under way, to settle */
    struct waiter *waiting, *late; /* for it, and for the next */
    struct nft_flow_preview *preview;
    struct flow_walk *dns_walk;
    bool is_first;          /* nothing of ours filtered before, and flows were not ended yet */
    bool was_quiet;         /* there was no flow at all before the first rules */
    bool no_sockets;        /* sockets cannot be listed, nor ended */
    bool no_flows;          /* conntrack cannot be listed: flows are found by their sockets */
    unsigned dns_looks;     /* for DNS flows that may be older than the redirect: so many are still to come */
    struct buf snapshot;    /* of the table as we made it; empty: not known */
    bool damaged;           /* the table may not be what we made it */
    struct why harm;        /* what was done to it, if that is known */
    uint64_t look_after_ns; /* not to be compared before */
};

/* Whether anything is refused, but what the redirect takes. */
static inline bool nft_refuses(const struct nft_settings *settings)
{
    return settings->filter && !settings->audit;
}

/* Closes the transaction, sends it and waits for the verdict. */
int nft_commit(struct nft *nft, struct batch *batch, struct why *why);
/* Sends what was collected in `changes` together with what is in `batch`, and follows the kernel's verdict. */
int nft_commit_changes(struct nft *nft, struct batch *batch, uint64_t now_ns, struct why *why);
/* Counts the rules in force. */
void nft_tell_rules(const struct nft *nft);
/* Remembers what the table looks like, unless others change it just now. Not to be called when others may have since
 * our newest transaction but one. */
void nft_remember_table(struct nft *nft);
/* `next` is in force from now on; its ranges are taken over. */
void nft_set_policy(struct nft *nft, struct nft_policy *next);
/* Gives up what is under way. */
void nft_walks_free(struct nft *nft);
/* Begins to delete the entries of DNS flows that the redirect has not seen, at the next calls until there were
 * DNS_LOOKS looks; one less when there was no flow at all before the first redirect. */
void nft_look_for_dns(struct nft *nft);

#endif
