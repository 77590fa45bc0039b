/* The token of the API. */
#ifndef API_AUTH_H
#define API_AUTH_H

#include <stdbool.h>

#define AUTH_HEADER "OPENSANDBOX-EGRESS-AUTH"

/* Whether `given` (NULL: no header) is `token`. The time it takes depends on the length of `given` only, so that the
 * token cannot be guessed byte by byte. */
bool auth_token_equal(const char *token, const char *given);

#endif
