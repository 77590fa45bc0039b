#include "api/auth.h"

#include <stddef.h>
#include <string.h>

bool auth_token_equal(const char *token, const char *given)
{
    if (!given)
        return false;
    size_t token_len = strlen(token), given_len = strlen(given);
    /* volatile: the compiler must not leave the loop at the first difference. */
    volatile unsigned char difference = token_len != given_len;
    for (size_t i = 0; i < given_len; i++)
        difference |= (unsigned char)(given[i] ^ token[token_len ? i % token_len : 0]);
    return difference == 0;
}
