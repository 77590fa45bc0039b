/* Entity tags (RFC 9110 sections 8.8.3 and 13.1). */
#ifndef API_ETAG_H
#define API_ETAG_H

#include <stdbool.h>
#include <stddef.h>

#define ETAG_SIZE 35 /* 32 hex digits, two quotes, NUL */

/* A strong tag: the first half of the content's SHA-256, in quotes. */
void etag_make(const void *content, size_t len, char ret[ETAG_SIZE]);
/* Whether the value of an If-Match (`strong`) or If-None-Match field names `etag`: `*`, or a list that contains it.
 * The strong comparison never matches a tag marked W/. */
bool etag_listed(const char *field, const char *etag, bool strong);

#endif
