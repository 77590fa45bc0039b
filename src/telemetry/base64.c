#include "telemetry/base64.h"

#include <string.h>

bool base64_decode(const char *text, uint8_t *out, size_t max, size_t *ret_len)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t len = 0, in = strcspn(text, "=");
    uint32_t bits = 0;
    unsigned n_bits = 0;
    if (in % 4 == 1)
        return false;
    for (size_t i = 0; i < in; i++) {
        const char *digit = memchr(digits, text[i], sizeof(digits) - 1);
        if (!digit)
            return false;
        bits = (bits << 6 | (uint32_t)(digit - digits)) & 0xffffff;
        n_bits += 6;
        if (n_bits < 8)
            continue;
        n_bits -= 8;
        if (len == max)
            return false;
        out[len++] = (uint8_t)(bits >> n_bits);
    }
    *ret_len = len;
    return true;
}
