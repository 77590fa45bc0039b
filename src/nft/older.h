/* Datagram flows that are older than the rules. Who opened them, nobody knows any more; the far end may be the next to
 * speak, and would then count as a client from outside, whose answers no policy refuses. So for a while what comes to a
 * port that was open before is taken for such a flow, and for as long as it goes on. */
#ifndef NFT_OLDER_H
#define NFT_OLDER_H

#include "nft/batch.h"
#include "nft/conn.h"

#include <stdbool.h>
#include <stdint.h>

/* Longer than address translators keep a flow in which nothing is sent (RFC 4787 section 4.3: 5 minutes): who sends
 * after that much silence can send without having been asked. */
#define OLDER_S 360

/* Declares the sets. */
void older_declare(struct batch *batch);
/* Appends the rules to `chain`, for first packets from outside of any protocol. */
void older_rules(struct batch *batch, const char *chain);
/* Keeps what they know in a new table. */
void older_carry(struct conn *conn, struct batch *batch);
/* Fills the set of ports: ports[N] is true for UDP port N. */
void older_put_ports(struct batch *batch, const bool ports[UINT16_MAX + 1]);

#endif
