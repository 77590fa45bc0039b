/* Domain names in uncompressed wire format (RFC 1035 section 3.1), as text. */
#ifndef BASE_DOMAIN_NAME_H
#define BASE_DOMAIN_NAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DOMAIN_NAME_MAX 255  /* octets */
#define DOMAIN_TEXT_MAX 1024 /* all of them as \DDD, and a NUL */

/* Whether an octet of a lower-case name stands for itself in text: a letter, a digit, '-' or '_'. */
static inline bool domain_octet_is_plain(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

/* Lower-case, without the final dot ("." for the root); octets that do not stand for themselves become \DDD (section
 * 5.1). What is cut off or no name is written as far as it goes, that is perhaps "". Returns the length. */
size_t domain_name_text(const uint8_t *wire, size_t len, char ret_text[DOMAIN_TEXT_MAX]);

#endif
