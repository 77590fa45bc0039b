/* What people write as targets that are none, told apart so that the error says what to write instead. Cold: small is
 * better than fast. */
#ifndef POLICY_BAD_TARGET_H
#define POLICY_BAD_TARGET_H

#include "base/why.h"

#include <stdbool.h>
#include <stddef.h>

/* For a text that is no address and no CIDR: 0 when it may be a name, else -EINVAL with `why`. */
int bad_target_check(const char *text, struct why *why) __attribute__((cold));
/* A name without a final dot whose last label is a number, as inet_aton() reads them (decimal, hexadecimal): programs
 * take it for an IPv4 address, or for nothing, and no resolver is asked (WHATWG URL, "ends in a number"). 0 for all
 * others, else -EINVAL with `why`, in which `text` is what the person wrote. */
int bad_target_check_number(const char *name, size_t len, const char *text, struct why *why) __attribute__((cold));
/* Writes the A-label form of a UTF-8 name that IDNA refuses (emoji, say), as browsers make it: `out` has room for a
 * name's text. False when it has none. */
bool bad_target_a_labels(const char *text, char *out, size_t size) __attribute__((cold));

#endif
