/* A resolv.conf's search list as text, which is how it crosses from the resolver's side to the kernel's. */
#ifndef BASE_SEARCH_TEXT_H
#define BASE_SEARCH_TEXT_H

#include <stddef.h>

#define SEARCH_TEXT_NAMES 32
#define SEARCH_TEXT_MAX 252 /* of a suffix, with its NUL: behind a longer one no name has room for a label */

struct search_text {
    char names[SEARCH_TEXT_NAMES][SEARCH_TEXT_MAX];
    size_t n;
    unsigned ndots;
};

#endif
