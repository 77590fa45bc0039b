/* JSON text before it is parsed. */
#ifndef POLICY_JSON_TEXT_H
#define POLICY_JSON_TEXT_H

#include "base/why.h"

#include <stddef.h>

/* Refuses what cJSON would let through or cut short, and RFC 8259 does not allow or a policy has no use for: invalid
 * UTF-8, control characters, and NUL inside strings, spelled as \u0000 too. Everything else is left to the parser.
 * 0 or -EINVAL with `why`. */
int json_text_check(const char *text, size_t len, struct why *why);

#endif
