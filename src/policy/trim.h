/* Surrounding white space, as people leave it in rules. */
#ifndef POLICY_TRIM_H
#define POLICY_TRIM_H

#include <stdbool.h>
#include <stddef.h>

/* ASCII, whatever the locale says. */
static inline bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* The text without white space at both ends: returns where it starts and shortens `*len`. */
static inline const char *trim(const char *text, size_t *len)
{
    while (*len && is_space(text[*len - 1]))
        --*len;
    while (*len && is_space(*text)) {
        text++;
        --*len;
    }
    return text;
}

#endif
