/* One collection as text for a person (OTEL_METRICS_EXPORTER=console). */
#ifndef TELEMETRY_CONSOLE_H
#define TELEMETRY_CONSOLE_H

#include "base/buf.h"
#include "telemetry/metric_data.h"
#include "telemetry/resource.h"

/* Appends one block: a line with the time, the resource and the attributes of all points, then each metric with its
 * points, then an empty line. Text is quoted as in JSON, so that no value can look like a line of its own. */
void console_render(const struct metrics_data *data, const struct resource *resource,
                    const struct attribute *attributes, size_t n_attributes, struct buf *out);

#endif
