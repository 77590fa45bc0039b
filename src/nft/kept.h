/* A text that the table keeps for a later start: it lasts as long as the network namespace, through crashes, needs no
 * disk, and only who may change rules can change it. Elements of a set that no rule looks at, numbered, with the pieces
 * as comments. */
#ifndef NFT_KEPT_H
#define NFT_KEPT_H

#include "base/buf.h"
#include "nft/batch.h"
#include "nft/conn.h"

#define KEPT_SET "kept"

/* The set, with the text in it; an empty text is none. */
void kept_declare(struct batch *batch, const struct buf *text);
/* The text in place of the one before; the set is there. -EFBIG: it has no room, and the text before is to go. */
int kept_replace(struct batch *batch, const struct buf *text);
/* Appends the text; nothing when there is none. 0 or -errno. */
int kept_read(struct conn *conn, struct buf *ret, struct why *why);

#endif
