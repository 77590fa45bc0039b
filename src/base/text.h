/* Small questions about values that people write. */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* ASCII white space, whatever the locale says. */
static inline bool text_is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* The text without white space at both ends: returns where it starts and shortens `*len`. */
const char *text_trim(const char *text, size_t *len);
/* A copy without white space at its ends; the caller frees it. NULL when memory is short. */
char *text_trimmed(const char *text, size_t len);
/* 1, true, yes, y, on in any case. */
bool text_truthy(const char *text);
/* 0, false, no, n, off in any case. */
bool text_falsy(const char *text);
/* Decimal digits only, from `min` to `max`. */
bool text_whole_number(const char *text, unsigned min, unsigned max, unsigned *ret);
/* Calls `each` with the trimmed parts between `separator`s, empty ones too, until it returns non-zero, and returns
 * that; -ENOMEM when memory is short. */
int text_split(const char *text, char separator, int (*each)(void *ctx, const char *part), void *ctx);

#endif
