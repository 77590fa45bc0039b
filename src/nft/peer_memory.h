/* What rules remember for a time, across a new table. */
#ifndef NFT_PEER_MEMORY_H
#define NFT_PEER_MEMORY_H

#include "nft/batch.h"
#include "nft/conn.h"

/* Adds the elements of this set in the kernel, a timeout set that rules fill, to a transaction that puts another table
 * in its place, for the rest of their time, and at most PEER_MEMORY_MAX. What cannot be read is forgotten. */
void memory_carry(struct conn *conn, struct batch *batch, const char *set, size_t key_size, uint32_t longest_s);
/* The same for peers that were logged within the last minute, which are logged once more when they are forgotten. */
void peer_memory_carry(struct conn *conn, struct batch *batch);

#endif
