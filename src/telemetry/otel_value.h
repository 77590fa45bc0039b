/* The forms that values of the OpenTelemetry environment have. Nothing here reads the environment or warns. */
#ifndef TELEMETRY_OTEL_VALUE_H
#define TELEMETRY_OTEL_VALUE_H

#include "telemetry/otel_env.h"

#include <stdbool.h>
#include <stddef.h>

/* `k=v,k2=v2` with percent-encoding in keys and values. Parts that are empty are passed over. A part that has no `=`,
 * no key, or broken encoding is bad: with `whole` nothing is returned then, else it is left out. `ret_bad` tells how
 * many. `fits` (or NULL) may refuse a decoded pair, too. 0 or -ENOMEM. */
int otel_pairs_parse(const char *text, bool whole, bool (*fits)(const struct attribute *pair), struct otel_pairs *ret,
                     size_t *ret_bad);
void otel_pairs_done(struct otel_pairs *pairs);

/* A header that a request may carry beside the exporter's own (RFC 9110 section 5). */
bool otel_header_fits(const struct attribute *pair);

/* Where requests go, made of an endpoint: http or https, a host or literal address (IPv6 in brackets), perhaps a port
 * and a path; no credentials, no fragment. `path` (with a slash in front, or NULL) is put behind the endpoint's own
 * path, before a query. `scheme` is for an endpoint without one; NULL: it must have one. 0, -EINVAL or -ENOMEM. */
int otel_url(const char *endpoint, const char *path, const char *scheme, char **ret);

#endif
