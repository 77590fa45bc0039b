/* The netlink socket: sends a transaction and reads the kernel's verdict. Calls return when the kernel has decided. */
#ifndef NFT_CONN_H
#define NFT_CONN_H

#include "base/cleanup.h"
#include "base/why.h"
#include "nft/batch.h"

struct conn;

/* 0; -EPERM without CAP_NET_ADMIN over this network namespace; -errno. */
int conn_open(struct conn **ret, struct why *why);
void conn_free(struct conn *conn);
/* Closes a transaction and sends it. 0 when the kernel took all of it, else -errno and nothing is changed.
 * -ENOBUFS: the verdict was lost, and whether the kernel changed could not be told either. */
int conn_commit(struct conn *conn, struct batch *batch, struct why *why);

/* The module that the kernel lacked at the newest conn_commit(); NULL when that failed for another reason, or not. */
const char *conn_lacks(const struct conn *conn);

/* Whether the rule set was changed, in whatever table, by anyone but this socket since it was opened or since the
 * generation that conn_accept_generation() was told; and its generation now. */
int conn_others_changed(struct conn *conn, bool *ret, uint32_t *ret_generation, struct why *why);
/* Whether the rule set has changed since what `conn` knows of; also while its own transaction is on its way, or when
 * that cannot be told. `asker` belongs to the calling thread, `conn` to any. */
bool conn_is_behind(struct conn *asker, const struct conn *conn);
/* What others did up to this generation is known. */
void conn_accept_generation(struct conn *conn, uint32_t generation);

/* Sends `len` bytes of questions, messages that are in no transaction, the last of which asks for an end (NLM_F_ACK or
 * NLM_F_DUMP), and hands every answer that is no error to `take`. 0; what `take` returned when that is not 0; the first
 * error of the kernel, after all answers; -EINTR when the rule set changed between two answers. */
int conn_ask(struct conn *conn, void *questions, size_t len, int (*take)(void *ctx, const struct nlmsghdr *answer),
             void *ctx, struct why *why);

DEFINE_CLEANUP(struct conn, conn_cleanup, conn_free);
#define _cleanup_conn_ _cleanup_(conn_cleanup)

#endif
