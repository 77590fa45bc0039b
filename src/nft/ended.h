/* What became of leases that ended by the mirror's reckoning: connections may have prolonged them in the kernel. */
#ifndef NFT_ENDED_H
#define NFT_ENDED_H

#include "nft/changes.h"
#include "nft/conn.h"

/* Asks the kernel about leases that ended more than a second ago, some more than `at_most` of a set at most, once the
 * first of them has been over for a while. Those that live on do so in the mirror; the others are dropped with the next
 * transaction, since the kernel does not get to collect them while there are transactions. What cannot be told now
 * stays. 0 or -ENOMEM. */
int ended_settle(struct conn *conn, struct changes *changes, size_t at_most, uint64_t now_ns);

/* Asks about the leases that the transaction writes anew: those that connections prolonged for longer are not
 * shortened, nor are their names; other names that ended are dropped. What cannot be told is left as it is. 0 or
 * -ENOMEM. */
int ended_keep_prolonged(struct conn *conn, struct changes *changes, uint64_t now_ns);
/* Until when the kernel lets this learned address through, by a connection that prolonged its lease: 0 when none did,
 * or when that cannot be told. */
uint64_t ended_ask_one(struct conn *conn, const struct lease *lease, uint64_t now_ns);

#endif
