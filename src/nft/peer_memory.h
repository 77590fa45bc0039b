/* Peers that were logged within the last minute, across a new table. */
#ifndef NFT_PEER_MEMORY_H
#define NFT_PEER_MEMORY_H

#include "nft/batch.h"
#include "nft/conn.h"

/* Adds what the table in the kernel remembers to a transaction that puts another in its place, for the rest of its
 * time. What cannot be read is forgotten, and logged once more when it is tried again. */
void peer_memory_carry(struct conn *conn, struct batch *batch);

#endif
