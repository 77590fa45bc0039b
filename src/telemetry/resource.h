/* What produces the telemetry, as OpenTelemetry describes it: the attributes of the resource. */
#ifndef TELEMETRY_RESOURCE_H
#define TELEMETRY_RESOURCE_H

#include "telemetry/log_json.h"
#include "telemetry/metric_data.h"

#include <stddef.h>

#define RESOURCE_SDK_NAME "opensandbox-egress" /* the name `opentelemetry` is reserved for the official ones */

/* Copied. */
struct resource_settings {
    const char *version;           /* of the program */
    const char *sandbox_id;        /* NULL: not set */
    const char *service_name;      /* OTEL_SERVICE_NAME; NULL: not set */
    const struct attribute *given; /* OTEL_RESOURCE_ATTRIBUTES, decoded; of equal keys the last one counts */
    size_t n_given;
};

/* Constant. Keys are there once; none is without a value. */
struct resource {
    struct metric_attribute *attributes;
    size_t n;
};

/* Draws a new service.instance.id. `given` goes before what is found out here, but never before sandbox_id,
 * OTEL_SERVICE_NAME and telemetry.sdk.*. 0 or -errno. */
int resource_new(const struct resource_settings *settings, struct resource **ret);
void resource_free(struct resource *resource);

#endif
