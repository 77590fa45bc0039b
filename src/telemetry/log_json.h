/* Log records as lines of JSON: level, ts, logger, msg, the constant attributes, the event, the fields. */
#ifndef TELEMETRY_LOG_JSON_H
#define TELEMETRY_LOG_JSON_H

#include "base/buf.h"
#include "base/log.h"

#include <stddef.h>

/* A constant field on every line (sandbox_id, extra attributes). */
struct attribute {
    const char *key, *value;
};

struct log_json {
    struct buf attributes; /* as they stand in a line, each after a comma */
    int64_t second;        /* that `stamp` tells */
    char stamp[sizeof("2026-11-22T06:00:00")];
    size_t time_at;  /* where the latest line has its time, LOG_JSON_TIME bytes, */
    size_t event_at; /* and its event and fields, from the comma before them to the last brace; both in `out` */
};

#define LOG_JSON_TIME (sizeof("2026-11-22T06:00:00.000Z") - 1)

/* Copies the attributes. 0 or -ENOMEM. */
int log_json_init(struct log_json *json, const struct attribute *attributes, size_t n);
void log_json_done(struct log_json *json);
/* The value of `opensandbox.event`; NULL for a plain record. */
const char *log_event_name(enum log_event event);
/* Appends `record` as one line. */
void log_json_line(struct log_json *json, struct log_record record, struct buf *out);

#endif
