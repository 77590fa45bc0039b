#include "policy/name.h"

#include "base/cleanup.h"
#include "base/domain_name.h"
#include "policy/bad_target.h"

#include <errno.h>
#include <idn2.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define LABEL_MAX 63
#define TEXT_OCTETS_MAX 253 /* RFC 1035 section 2.3.4 less the first length octet and the root */
#define QUOTED "\"%.100s\": "

static uint8_t lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c + ('a' - 'A')) : c;
}

static int bad_octet(const char *text, uint8_t c, struct why *why)
{
    if (c == ':' || c == '/')
        return why_set(why, -EINVAL, QUOTED "expected a name, an IP address or a CIDR; no scheme, no port and no path",
                       text);
    if (c == '*')
        return why_set(why, -EINVAL, QUOTED "\"*\" may only stand alone or as the first label: *.example.com", text);
    if (c > ' ' && c < 0x7f)
        return why_set(why, -EINVAL, QUOTED "'%c' is no character of a name; expected letters, digits, '-' and '_'",
                       text, c);
    return why_set(why, -EINVAL, QUOTED "octet 0x%02x is no character of a name; expected letters, digits, '-' and '_'",
                   text, c);
}

/* `ascii` has no final dot; `text` is what the person wrote. */
static int encode(const char *ascii, size_t len, uint8_t wire[NAME_WIRE_MAX], size_t *ret_len, const char *text,
                  struct why *why)
{
    if (len > TEXT_OCTETS_MAX)
        return why_set(why, -EINVAL, QUOTED "the name has %zu octets; expected at most %d", text, len, TEXT_OCTETS_MAX);
    size_t head = 0, at = 1; /* wire[head] is the length octet of the label being written */
    for (size_t i = 0; i <= len; i++) {
        uint8_t c = i < len ? lower((uint8_t)ascii[i]) : '.';
        if (c != '.') {
            if (!domain_octet_is_plain(c))
                return bad_octet(text, c, why);
            wire[at++] = c;
            continue;
        }
        size_t label_len = at - head - 1;
        if (label_len == 0)
            return why_set(why, -EINVAL, QUOTED "the name has an empty label; expected a name like example.com", text);
        if (label_len > LABEL_MAX)
            return why_set(why, -EINVAL, QUOTED "a label has %zu octets; expected at most %d", text, label_len,
                           LABEL_MAX);
        wire[head] = (uint8_t)label_len;
        head = at++;
    }
    wire[head] = 0;
    *ret_len = head + 1;
    return 0;
}

static bool is_ascii(const char *text)
{
    for (; *text; text++)
        if ((uint8_t)*text >= 0x80)
            return false;
    return true;
}

static void idn_string_free(char **slot)
{
    idn2_free(*slot);
}

static int to_ascii(const char *text, char **ret, struct why *why)
{
    uint8_t *ascii = NULL;
    int rc = idn2_lookup_u8((const uint8_t *)text, &ascii, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL);
    if (rc == IDN2_MALLOC)
        return -ENOMEM;
    if (rc != IDN2_OK) {
        char a_labels[NAME_TEXT_MAX];
        bool others_take_it = rc == IDN2_DISALLOWED && bad_target_a_labels(text, a_labels, sizeof(a_labels));
        return why_set(why, -EINVAL, QUOTED "not a valid internationalised name (%s)%s%.253s", text, idn2_strerror(rc),
                       others_take_it ? "; if it is meant write " : "", others_take_it ? a_labels : "");
    }
    *ret = (char *)ascii;
    return 0;
}

int name_from_text(const char *text, uint8_t ret_wire[NAME_WIRE_MAX], size_t *ret_len, struct why *why)
{
    _cleanup_(idn_string_free) char *converted = NULL;
    const char *ascii = text;
    if (strlen(text) >= NAME_TEXT_MAX)
        return why_set(why, -EINVAL, QUOTED "the name is too long; expected at most %d octets", text, TEXT_OCTETS_MAX);
    if (!is_ascii(text)) {
        int error = to_ascii(text, &converted, why);
        if (error)
            return error;
        ascii = converted;
    }
    size_t len = strlen(ascii);
    if (len == 1 && ascii[0] == '.') {
        ret_wire[0] = 0;
        *ret_len = 1;
        return 0;
    }
    if (len && ascii[len - 1] == '.')
        len--;

    uint8_t wire[NAME_WIRE_MAX];
    size_t wire_len = 0;
    int error = encode(ascii, len, wire, &wire_len, text, why);
    if (error)
        return error;
    error = bad_target_check_number(ascii, len, text, why);
    if (error)
        return error;
    memcpy(ret_wire, wire, wire_len);
    *ret_len = wire_len;
    return 0;
}
