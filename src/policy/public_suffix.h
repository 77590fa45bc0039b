/* Names below which strangers register their own (publicsuffix.org): com, co.uk, github.io. */
#ifndef POLICY_PUBLIC_SUFFIX_H
#define POLICY_PUBLIC_SUFFIX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* `wire` is a well-formed lower-case name. The root and every top-level name are; the list is the one that libpsl was
 * built with, and no file is read. */
bool public_suffix_is(const uint8_t *wire, size_t len);

#endif
