/* One collection of metrics as an ExportMetricsServiceRequest. */
#ifndef TELEMETRY_OTLP_METRICS_H
#define TELEMETRY_OTLP_METRICS_H

#include "telemetry/otlp_frame.h"

/* `attributes` are put on every point. Appends the request; `out->failed` tells of want of memory. `ret_points`: how
 * many data points are in it. */
void otlp_metrics_request(const struct otlp_frame *frame, const struct attribute *attributes, size_t n_attributes,
                          const struct metrics_data *data, struct buf *out, size_t *ret_points);

#endif
