/* What the client would like to get: the Accept header (RFC 9110 section 12.5.1). */
#ifndef API_ACCEPT_H
#define API_ACCEPT_H

#include <stdbool.h>

/* Whether `application/openmetrics-text`, version 1.0.0 or none, is named and wanted at least as much as plain text.
 * NULL: there is no header. */
bool accept_prefers_openmetrics(const char *accept);

#endif
