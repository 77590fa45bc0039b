/* Named counters of the table: rules count packets in them, and they can be read one by one. */
#ifndef NFT_COUNTER_H
#define NFT_COUNTER_H

#include "nft/batch.h"
#include "nft/conn.h"

#define COUNTERS_MAX 8 /* of one counters_read() */

void counter_declare(struct batch *batch, const char *name);
/* How many packets each of `n` counters counted since the table was put in place. 0 or -errno, and then nothing is in
 * `ret`. Does not block. */
int counters_read(struct conn *conn, const char *const names[], size_t n, uint64_t ret[]);

#endif
