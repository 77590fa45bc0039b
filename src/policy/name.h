/* Domain names of policies: from text to lower-case uncompressed wire format (RFC 1035 section 3.1). */
#ifndef POLICY_NAME_H
#define POLICY_NAME_H

#include "base/why.h"

#include <stddef.h>
#include <stdint.h>

#define NAME_WIRE_MAX 255
#define NAME_TEXT_MAX 1016 /* 255 octets, each as \DDD at worst, and a NUL */

/* Letters, digits, '-' and '_'; labels of 1..63 octets, 253 octets in all; one trailing dot is dropped; a Unicode name
 * becomes its A-label form (IDNA 2008, UTS 46 mapping). "." is the root. A name whose last label is a number is
 * refused: programs take it for an IPv4 address and never ask. Writes at most NAME_WIRE_MAX bytes, returns their number
 * in *ret_len. 0, -EINVAL with `why` saying what is wrong with `text`, or -ENOMEM. */
int name_from_text(const char *text, uint8_t ret_wire[NAME_WIRE_MAX], size_t *ret_len, struct why *why);

#endif
