/* Records of several queues, the oldest first, as a block of lines. Events among them are shown to whoever looks. All
 * of it belongs to the export thread. */
#ifndef TELEMETRY_LOG_BLOCK_H
#define TELEMETRY_LOG_BLOCK_H

#include "base/recent.h"
#include "telemetry/log_json.h"
#include "telemetry/network.h"

#define LOG_BLOCK_BYTES (32 * 1024) /* text that is written at once, more or less */

/* The first four are the user's to fill; borrowed. */
struct log_block {
    struct log *const *logs;
    size_t n_logs;
    struct network *network; /* gets what is written */
    struct recent *recent;   /* gets the events, those that are not written, too; NULL: nobody does */
    struct log_json json;    /* log_json_init() */
    struct buf text;
    size_t made;   /* bytes of text since log_block_clear(), written or not */
    uint64_t lost; /* records, ever, for want of memory */
};

void log_block_done(struct log_block *block);
/* Begins a new block. */
void log_block_clear(struct log_block *block);
/* Whether there is a record in any queue. */
bool log_block_waits(const struct log_block *block);
/* Takes records until the block is full; false when the queues were empty before that. */
bool log_block_fill(struct log_block *block);

#endif
