#include "policy/bad_target.h"

#include "base/ip.h"
#include "base/utf8.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CIDRS_SHOWN 6
#define QUOTED "\"%.100s\": "
#define LABEL_MAX 63

/* The largest CIDR that begins with `first` and ends at `last` or before. */
static struct ip_prefix largest(const struct ip_addr *first, const struct ip_addr *last)
{
    struct ip_prefix prefix = {*first, (uint8_t)(ip_size(first->family) * 8)};
    while (prefix.bits) {
        unsigned bit = prefix.bits - 1u;
        struct ip_prefix wider = {*first, (uint8_t)bit};
        struct ip_range range = ip_prefix_range(&wider);
        if (first->bytes[bit / 8] & 0x80 >> bit % 8 || ip_compare(&range.last, last) > 0)
            break;
        prefix = wider;
    }
    return prefix;
}

/* The range as CIDRs, when it takes few of them, and there is one. */
static int say_cidrs(const char *text, const struct ip_addr *first, const struct ip_addr *last, struct why *why)
{
    char list[CIDRS_SHOWN * (IP_TEXT_MAX + 6)] = "";
    size_t used = 0;
    struct ip_addr at = *first;
    for (int n = 0; ip_compare(&at, last) <= 0; n++) {
        char addr[IP_TEXT_MAX];
        if (n == CIDRS_SHOWN) {
            strcpy(list, "CIDRs");
            break;
        }
        struct ip_prefix prefix = largest(&at, last);
        used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s/%u", n ? ", " : "", ip_format(&at, addr),
                                 prefix.bits);
        at = ip_prefix_range(&prefix).last;
        if (!ip_next(&at, &at))
            break;
    }
    return why_set(why, -EINVAL, QUOTED "a range is no target; write %s", text, *list ? list : "CIDRs");
}

/* Whether the first `len` octets are an address. */
static bool starts_with_address(const char *text, size_t len, struct ip_addr *ret)
{
    char copy[IP_TEXT_MAX];
    if (len >= sizeof(copy))
        return false;
    memcpy(copy, text, len);
    copy[len] = '\0';
    return !ip_parse(copy, ret);
}

/* ADDR-ADDR and, of IPv4, ADDR-OCTET. */
static int check_range(const char *text, struct why *why)
{
    struct ip_addr first, last;
    size_t len = strcspn(text, " -");
    const char *end = text + len + strspn(text + len, " -");
    if (!memchr(text + len, '-', (size_t)(end - text) - len) || !starts_with_address(text, len, &first))
        return 0;
    if (ip_parse(end, &last)) {
        char *rest;
        unsigned long octet = strtoul(end, &rest, 10);
        last = first;
        last.bytes[3] = (uint8_t)(first.family != AF_INET || *rest || octet > 255 ? 0 : octet);
    }
    if (first.family != last.family)
        last = (struct ip_addr){.family = first.family}; /* no address lies between */
    return say_cidrs(text, &first, &last, why);
}

static int check_prefix_length(const char *text, struct why *why)
{
    struct ip_addr addr;
    size_t len = strcspn(text, "/");
    if (!text[len] || !starts_with_address(text, len, &addr))
        return 0;
    return why_set(why, -EINVAL, QUOTED "expected a prefix length from 0 to %zu behind \"/\"", text,
                   ip_size(addr.family) * 8);
}

static int check_brackets(const char *text, struct why *why)
{
    struct ip_addr addr;
    char shown[IP_TEXT_MAX];
    size_t len = strcspn(text + 1, "]");
    if (*text != '[' || !starts_with_address(text + 1, len, &addr))
        return 0;
    return why_set(why, -EINVAL, QUOTED "no brackets and no port; write %s", text, ip_format(&addr, shown));
}

int bad_target_check(const char *text, struct why *why)
{
    const char *below = text;
    while (!strncmp(below, "*.", 2))
        below += 2;
    if (below > text + 2 && *below)
        return why_set(why, -EINVAL, QUOTED "write *.%.200s, which matches names below it at any depth", text, below);
    if (text[0] == '.' && text[1] && text[1] != '.')
        return why_set(why, -EINVAL, QUOTED "empty label; write *%.200s for the names below it", text, text);
    int error = check_prefix_length(text, why);
    if (!error)
        error = check_range(text, why);
    return error ? error : check_brackets(text, why);
}

int bad_target_check_number(const char *name, size_t len, const char *text, struct why *why)
{
    char copy[256], shown[INET_ADDRSTRLEN];
    struct in_addr addr;
    if (!len || len >= sizeof(copy))
        return 0;
    memcpy(copy, name, len);
    copy[len] = '\0';
    const char *dot = strrchr(copy, '.'), *last = dot ? dot + 1 : copy;
    bool hexadecimal = last[0] == '0' && (last[1] | 0x20) == 'x';
    if (!hexadecimal && last[strspn(last, "0123456789")])
        return 0;
    if (inet_aton(copy, &addr))
        return why_set(why, -EINVAL, QUOTED "programs take it for the IPv4 address %s; write that if it is meant", text,
                       inet_ntop(AF_INET, &addr, shown, sizeof(shown)));
    return why_set(why, -EINVAL,
                   QUOTED
                   "a name that ends in a number is taken for an IPv4 address, and this is none; expected a name "
                   "like example.com",
                   text);
}

/* --- RFC 3492 --- */

enum { BASE = 36, T_MIN = 1, T_MAX = 26, SKEW = 38, DAMP = 700, INITIAL_BIAS = 72, INITIAL_N = 128 };

static unsigned adapt(unsigned delta, unsigned points, bool first)
{
    unsigned k = 0;
    delta = first ? delta / DAMP : delta / 2;
    for (delta += delta / points; delta > (BASE - T_MIN) * T_MAX / 2; k += BASE)
        delta /= BASE - T_MIN;
    return k + (BASE - T_MIN + 1) * delta / (delta + SKEW);
}

static size_t put_number(unsigned number, unsigned bias, char *out)
{
    size_t n = 0;
    for (unsigned k = BASE;; k += BASE) {
        unsigned t = k <= bias ? T_MIN : k >= bias + T_MAX ? T_MAX : k - bias;
        unsigned digit = number < t ? number : t + (number - t) % (BASE - t);
        out[n++] = (char)(digit < 26 ? 'a' + digit : '0' + digit - 26);
        if (number < t)
            return n;
        number = (number - t) / (BASE - t);
    }
}

/* Writes the label; 0 when it has more than 63 code points or octets. `out` has room for 4 + 63 * 8. */
static size_t put_a_label(const uint32_t *points, size_t n, char *out)
{
    size_t used = 4, basic = 0, done;
    unsigned delta = 0, bias = INITIAL_BIAS;
    memcpy(out, "xn--", 4);
    for (size_t i = 0; i < n; i++)
        if (points[i] < INITIAL_N)
            out[used++] = (char)points[i];
    done = basic = used - 4;
    if (basic)
        out[used++] = '-';
    for (uint32_t next = INITIAL_N; done < n; next++, delta++) {
        uint32_t least = UINT32_MAX;
        for (size_t i = 0; i < n; i++)
            if (points[i] >= next && points[i] < least)
                least = points[i];
        delta += (least - next) * (unsigned)(done + 1); /* at most 63 points: no overflow */
        next = least;
        for (size_t i = 0; i < n; i++) {
            delta += points[i] < next;
            if (points[i] != next)
                continue;
            used += put_number(delta, bias, out + used);
            bias = adapt(delta, (unsigned)done + 1, done == basic);
            delta = 0;
            done++;
        }
    }
    return used <= LABEL_MAX ? used : 0;
}

/* Reads one code point; returns its octets, 0 when it is none. */
static size_t read_point(const uint8_t *at, size_t left, uint32_t *ret)
{
    size_t len = *at < 0x80 ? 1 : utf8_sequence(at, left);
    uint32_t point = len < 2 ? *at : *at & (0x7fu >> len);
    for (size_t i = 1; i < len; i++)
        point = point << 6 | (at[i] & 0x3f);
    *ret = point;
    return len;
}

bool bad_target_a_labels(const char *text, char *out, size_t size)
{
    const uint8_t *at = (const uint8_t *)text, *end = at + strlen(text);
    for (size_t used = 0;;) {
        uint32_t points[LABEL_MAX];
        char label[4 + LABEL_MAX * 8];
        size_t n = 0, len = 0;
        bool ascii = true;
        for (size_t octets; at < end && *at != '.'; at += octets, n++) {
            if (n == LABEL_MAX || !(octets = read_point(at, (size_t)(end - at), &points[n])))
                return false;
            ascii &= points[n] < INITIAL_N;
        }
        if (ascii)
            for (; len < n; len++)
                label[len] = (char)points[len];
        else if (!(len = put_a_label(points, n, label)))
            return false;
        if (used + len + 2 > size)
            return false;
        memcpy(out + used, label, len);
        used += len;
        out[used] = '\0';
        if (at == end)
            return true;
        out[used++] = (char)*at++; /* the dot */
    }
}
