/* A transaction under construction: netlink messages of nf_tables between a BEGIN and an END, in one byte string that
 * goes to the kernel with one send. Memory that runs out is remembered and reported by batch_end(), so that those who
 * write messages have nothing to check. */
#ifndef NFT_BATCH_H
#define NFT_BATCH_H

#include "base/buf.h"
#include "base/cleanup.h"

#include <libmnl/libmnl.h>
#include <stdint.h>

#define NFT_TABLE "opensandbox"
#define BATCH_MESSAGE_MAX 65536

struct batch;

int batch_new(struct batch **ret);
void batch_free(struct batch *batch);

/* Forgets what was built, keeps the memory, and opens a new transaction. */
void batch_begin(struct batch *batch);
/* Closes the message before and opens another: `type` is one of NFT_MSG_*, `flags` are NLM_F_* beside NLM_F_REQUEST.
 * The caller appends attributes with libnftnl or libmnl, BATCH_MESSAGE_MAX bytes with the header, until the next call
 * with this batch. */
struct nlmsghdr *batch_message(struct batch *batch, uint16_t type, uint16_t flags);
/* The family of the messages to come, NFPROTO_*: NFPROTO_INET after batch_begin(). */
void batch_set_family(struct batch *batch, uint8_t family);
/* Remembers that memory ran out for something that belongs into this transaction. */
void batch_fail(struct batch *batch);
/* An identifier for a set that has no name yet, unique in this transaction. */
uint32_t batch_next_set_id(struct batch *batch);
/* How many rules the transaction adds so far. */
uint32_t batch_rules(const struct batch *batch);
/* Closes the transaction; the last message inside asks for an acknowledgement. 0 or -ENOMEM. */
int batch_end(struct batch *batch);

/* The bytes, valid until the next call. BEGIN is message 0; the one that is acknowledged is `*ret_acked`. */
struct buf *batch_bytes(struct batch *batch, uint32_t *ret_acked);

DEFINE_CLEANUP(struct batch, batch_cleanup, batch_free);
#define _cleanup_batch_ _cleanup_(batch_cleanup)

#endif
