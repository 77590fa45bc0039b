/* Log records as LogRecord messages, field for field what stands in the lines of log_json. */
#ifndef TELEMETRY_OTLP_LOGS_H
#define TELEMETRY_OTLP_LOGS_H

#include "base/log.h"
#include "telemetry/otlp_frame.h"

struct otlp_logs {
    struct buf constants; /* the attributes that every record has, encoded */
    struct buf text;      /* scratch */
};

/* Copies the attributes. 0 or -ENOMEM. */
int otlp_logs_init(struct otlp_logs *logs, const struct attribute *attributes, size_t n);
void otlp_logs_done(struct otlp_logs *logs);
/* Appends the record as an element for otlp_frame_wrap(); `out->failed` tells of want of memory. */
void otlp_logs_record(struct otlp_logs *logs, struct log_record record, int64_t observed_ns, struct buf *out);

#endif
