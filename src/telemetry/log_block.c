#include "telemetry/log_block.h"

/* The queue whose oldest record is the oldest of all, and that record; NULL when all are empty. */
static struct log *oldest_record(const struct log_block *block, struct log_record *ret)
{
    struct log *oldest = NULL;
    struct log_record record;
    for (size_t i = 0; i < block->n_logs; i++) {
        if (!log_peek(block->logs[i], &record) || (oldest && record.time_ns >= ret->time_ns))
            continue;
        *ret = record;
        oldest = block->logs[i];
    }
    return oldest;
}

/* Appends the record as a line, which its event is a part of. */
static void take_record(struct log_block *block, const struct log_record *record)
{
    struct buf *text = &block->text;
    const struct log_json *json = &block->json;
    size_t before = text->len;
    if (!record->unwritten)
        network_record(block->network, record);
    log_json_line(&block->json, *record, text);
    bool lost = text->failed;
    if (block->recent && record->event != LOG_PLAIN && !lost)
        recent_add(block->recent, text->data + json->time_at, LOG_JSON_TIME, text->data + json->event_at,
                   text->len - json->event_at - (sizeof("}\n") - 1));
    block->made += text->len - before;
    if (lost || record->unwritten)
        text->len = before;
    text->failed = false;
    block->lost += lost;
}

void log_block_done(struct log_block *block)
{
    log_json_done(&block->json);
    buf_done(&block->text);
}

void log_block_clear(struct log_block *block)
{
    buf_clear(&block->text);
    block->made = 0;
}

bool log_block_waits(const struct log_block *block)
{
    struct log_record record;
    return oldest_record(block, &record);
}

bool log_block_fill(struct log_block *block)
{
    while (block->made < LOG_BLOCK_BYTES) {
        struct log_record record;
        struct log *log = oldest_record(block, &record);
        if (!log)
            return false;
        take_record(block, &record);
        log_pop(log);
    }
    return true;
}
