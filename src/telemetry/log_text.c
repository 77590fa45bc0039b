#include "telemetry/log_text.h"

#include "base/domain_name.h"

#include <string.h>

void log_text_name(struct buf *buf, const uint8_t *wire, size_t len)
{
    char text[DOMAIN_TEXT_MAX];
    const char *at = text, *end = text + domain_name_text(wire, len, text);
    for (const char *escape; (escape = memchr(at, '\\', (size_t)(end - at))); at = escape + 1) {
        buf_append(buf, at, (size_t)(escape + 1 - at));
        buf_putc(buf, '\\');
    }
    buf_append(buf, at, (size_t)(end - at));
}

static size_t put_v4(const uint8_t *bytes, char *out)
{
    char *at = out;
    for (int i = 0; i < 4; i++) {
        uint8_t b = bytes[i];
        if (i)
            *at++ = '.';
        if (b >= 100)
            *at++ = (char)('0' + b / 100);
        if (b >= 10)
            *at++ = (char)('0' + b / 10 % 10);
        *at++ = (char)('0' + b % 10);
    }
    return (size_t)(at - out);
}

static size_t put_group(uint16_t group, char *out)
{
    size_t n = 0;
    for (int shift = 12; shift >= 0; shift -= 4)
        if (group >> shift || !shift)
            out[n++] = "0123456789abcdef"[group >> shift & 15];
    return n;
}

/* The first of the longest runs of two or more zero groups, which "::" stands for (RFC 5952 section 4.2). */
static int longest_zero_run(const uint16_t groups[8], int *ret_len)
{
    int best = -1, best_len = 1;
    for (int i = 0; i < 8; i++) {
        int len = 0;
        while (i + len < 8 && !groups[i + len])
            len++;
        if (len > best_len) {
            best = i;
            best_len = len;
        }
        i += len;
    }
    *ret_len = best_len;
    return best;
}

static size_t put_v6(const uint8_t *bytes, char *out)
{
    uint16_t groups[8];
    for (int i = 0; i < 8; i++)
        groups[i] = (uint16_t)(bytes[2 * i] << 8 | bytes[2 * i + 1]);
    int run_len;
    int run = longest_zero_run(groups, &run_len);
    /* IPv4 addresses in IPv6 ones (::a.b.c.d, ::ffff:a.b.c.d) are written as such. */
    bool v4_tail = run == 0 && (run_len == 6 || (run_len == 5 && groups[5] == 0xffff));
    size_t n = 0;
    for (int i = 0; i < 8;) {
        if (i == run) {
            out[n++] = ':';
            out[n++] = ':';
            i += run_len;
            continue;
        }
        if (i && out[n - 1] != ':')
            out[n++] = ':';
        if (v4_tail && i == 6)
            return n + put_v4(bytes + 12, out + n);
        n += put_group(groups[i++], out + n);
    }
    return n;
}

size_t log_text_ip(const struct ip_addr *addr, char out[IP_TEXT_MAX])
{
    return addr->family == AF_INET ? put_v4(addr->bytes, out) : put_v6(addr->bytes, out);
}
