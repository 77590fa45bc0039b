/* What the client would like to get: the headers Accept and Accept-Encoding (RFC 9110 section 12.5). */
#ifndef API_ACCEPT_H
#define API_ACCEPT_H

#include <stdbool.h>

/* Whether `application/openmetrics-text`, version 1.0.0 or none, is named and wanted at least as much as plain text.
 * NULL: there is no header. */
bool accept_prefers_openmetrics(const char *accept);
/* Whether Accept-Encoding takes gzip (section 12.5.3). NULL: there is no header, and then nothing is packed. */
bool accept_takes_gzip(const char *encodings);

#endif
