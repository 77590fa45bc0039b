#include "policy/public_suffix.h"

#include "base/domain_name.h"

#include <libpsl.h>

bool public_suffix_is(const uint8_t *wire, size_t len)
{
    char text[DOMAIN_TEXT_MAX];
    const psl_ctx_t *list = psl_builtin();
    bool top = len == 1 || (size_t)wire[0] + 2 == len; /* also without a list */
    domain_name_text(wire, len, text);
    return top || !list || psl_is_public_suffix(list, text);
}
