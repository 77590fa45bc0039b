/* Attributes as Prometheus labels. */
#ifndef TELEMETRY_LABELS_H
#define TELEMETRY_LABELS_H

#include "base/buf.h"
#include "telemetry/metric_data.h"

#include <stddef.h>

/* Appends `name="value",` for each attribute. What a label name cannot hold becomes `_`, one for several in a row. The
 * values of keys that become one name are joined with `;`, in the order of the keys (the OpenTelemetry specification's
 * rule). Of equal keys the last one counts. A name among `reserved` is put behind `exported_`. Memory that runs out is
 * remembered in the buffer. */
void labels_append(struct buf *out, const struct metric_attribute *attributes, size_t n, const char *const *reserved,
                   size_t n_reserved);
/* The value of a label, quotes included: backslash, quote and line feed escaped, what is no UTF-8 as U+FFFD. */
void labels_quote(struct buf *out, const char *text);
/* `key` as a label name. */
void labels_name(struct buf *out, const char *key);

#endif
