/* What every OTLP request of this process carries: the resource and the scope, encoded once. */
#ifndef TELEMETRY_OTLP_FRAME_H
#define TELEMETRY_OTLP_FRAME_H

#include "base/buf.h"
#include "telemetry/log_json.h"
#include "telemetry/metric_data.h"

#include <stddef.h>

struct otlp_frame {
    struct buf resource, scope; /* whole fields, ready for ResourceMetrics/ResourceLogs and ScopeMetrics/ScopeLogs */
};

/* The attributes are copied. 0 or -ENOMEM. */
int otlp_frame_init(struct otlp_frame *frame, const struct metric_attribute *resource, size_t n_resource,
                    const char *scope_name, const char *scope_version);
void otlp_frame_done(struct otlp_frame *frame);
/* Appends a whole request: the frame around `elements`, which are fields 2 of the scope's message. Metrics and logs
 * have the same shape. */
void otlp_frame_wrap(const struct otlp_frame *frame, const void *elements, size_t len, struct buf *out);

/* A KeyValue as `field` of the message at hand. Text that is no UTF-8 is made valid. */
void otlp_text_attribute(struct buf *out, unsigned field, const char *key, const char *text, size_t len);
void otlp_int_attribute(struct buf *out, unsigned field, const char *key, int64_t value);

#endif
