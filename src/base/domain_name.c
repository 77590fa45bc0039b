#include "base/domain_name.h"

#define LABEL_MAX 63

static char *put_octet(uint8_t c, char *out)
{
    if (c >= 'A' && c <= 'Z')
        c = (uint8_t)(c - 'A' + 'a');
    if (domain_octet_is_plain(c)) {
        *out++ = (char)c;
        return out;
    }
    *out++ = '\\';
    *out++ = (char)('0' + c / 100);
    *out++ = (char)('0' + c / 10 % 10);
    *out++ = (char)('0' + c % 10);
    return out;
}

size_t domain_name_text(const uint8_t *wire, size_t len, char ret_text[DOMAIN_TEXT_MAX])
{
    const uint8_t *at = wire, *end = wire + (len < DOMAIN_NAME_MAX ? len : DOMAIN_NAME_MAX);
    char *out = ret_text;
    if (at < end && !*at)
        *out++ = '.';
    while (at < end && *at && *at <= LABEL_MAX) {
        const uint8_t *label_end = *at < end - at ? at + 1 + *at : end;
        if (at > wire)
            *out++ = '.';
        for (at++; at < label_end; at++)
            out = put_octet(*at, out);
    }
    *out = '\0';
    return (size_t)(out - ret_text);
}
