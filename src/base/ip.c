#include "base/ip.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

struct ip_addr ip_from_v4(const void *four_bytes)
{
    struct ip_addr addr = {.family = AF_INET};
    memcpy(addr.bytes, four_bytes, 4);
    return addr;
}

struct ip_addr ip_from_v6(const void *sixteen_bytes)
{
    struct ip_addr addr = {.family = AF_INET6};
    memcpy(addr.bytes, sixteen_bytes, 16);
    return addr;
}

struct ip_addr ip_from_v6_socket(const void *sixteen_bytes)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    const uint8_t *bytes = sixteen_bytes;
    return memcmp(bytes, mapped, sizeof(mapped)) ? ip_from_v6(bytes) : ip_from_v4(bytes + sizeof(mapped));
}

bool ip_equal(const struct ip_addr *a, const struct ip_addr *b)
{
    return memcmp(a, b, sizeof(*a)) == 0;
}

int ip_compare(const struct ip_addr *a, const struct ip_addr *b)
{
    if (a->family != b->family)
        return a->family == AF_INET ? -1 : 1;
    return memcmp(a->bytes, b->bytes, sizeof(a->bytes));
}

int ip_parse(const char *text, struct ip_addr *ret)
{
    struct ip_addr addr = {0};
    if (inet_pton(AF_INET, text, addr.bytes) == 1)
        addr.family = AF_INET;
    else if (inet_pton(AF_INET6, text, addr.bytes) == 1)
        addr.family = AF_INET6;
    else
        return -EINVAL;
    *ret = addr;
    return 0;
}

/* Digits only, no sign, no space, at most `max`. */
static int parse_decimal(const char *text, unsigned max, unsigned *ret)
{
    unsigned value = 0;
    if (!*text)
        return -EINVAL;
    for (; *text; text++) {
        if (*text < '0' || *text > '9')
            return -EINVAL;
        value = value * 10 + (unsigned)(*text - '0');
        if (value > max)
            return -EINVAL;
    }
    *ret = value;
    return 0;
}

static void mask_host_bits(struct ip_prefix *prefix)
{
    for (size_t i = 0; i < ip_size(prefix->addr.family); i++) {
        int keep = (int)prefix->bits - (int)i * 8;
        if (keep <= 0)
            prefix->addr.bytes[i] = 0;
        else if (keep < 8)
            prefix->addr.bytes[i] &= (uint8_t)(0xff << (8 - keep));
    }
}

int ip_prefix_parse(const char *text, struct ip_prefix *ret)
{
    char copy[IP_TEXT_MAX + 4];
    size_t len = strlen(text);
    if (len >= sizeof(copy))
        return -EINVAL;
    memcpy(copy, text, len + 1);
    char *slash = strchr(copy, '/');
    if (slash)
        *slash = '\0';
    struct ip_prefix prefix;
    if (ip_parse(copy, &prefix.addr))
        return -EINVAL;
    unsigned bits = (unsigned)ip_size(prefix.addr.family) * 8;
    if (slash && parse_decimal(slash + 1, bits, &bits))
        return -EINVAL;
    prefix.bits = (uint8_t)bits;
    mask_host_bits(&prefix);
    *ret = prefix;
    return 0;
}

struct ip_range ip_prefix_range(const struct ip_prefix *prefix)
{
    struct ip_range range = {prefix->addr, prefix->addr};
    for (size_t i = 0; i < ip_size(prefix->addr.family); i++) {
        int keep = (int)prefix->bits - (int)i * 8;
        if (keep <= 0)
            range.last.bytes[i] = 0xff;
        else if (keep < 8)
            range.last.bytes[i] |= (uint8_t)(0xff >> keep);
    }
    return range;
}

bool ip_prefix_has(const struct ip_prefix *prefix, const struct ip_addr *addr)
{
    size_t whole = prefix->bits / 8;
    uint8_t mask = (uint8_t)(0xff00 >> prefix->bits % 8);
    return prefix->addr.family == addr->family && !memcmp(prefix->addr.bytes, addr->bytes, whole) &&
           (!mask || !((prefix->addr.bytes[whole] ^ addr->bytes[whole]) & mask));
}

const char *ip_format(const struct ip_addr *addr, char out[IP_TEXT_MAX])
{
    return inet_ntop(addr->family, addr->bytes, out, IP_TEXT_MAX) ? out : strcpy(out, "?");
}

bool ip_is_unicast(const struct ip_addr *addr)
{
    static const uint8_t unspecified[16], mapped[12] = {[10] = 0xff, [11] = 0xff};
    if (addr->family == AF_INET)
        return addr->bytes[0] != 0 && addr->bytes[0] < 224;
    return addr->bytes[0] != 0xff && memcmp(addr->bytes, unspecified, 16) && memcmp(addr->bytes, mapped, 12);
}

/* Where a cloud's metadata and agent services answer beside 169.254.0.0/16: Alibaba, Azure, Oracle. */
static bool is_cloud_v4(const uint8_t b[4])
{
    static const uint8_t list[][4] = {{100, 100, 100, 200}, {168, 63, 129, 16}, {192, 0, 0, 192}};
    for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++)
        if (!memcmp(b, list[i], 4))
            return true;
    return false;
}

static bool is_special_v4(const uint8_t b[4])
{
    return b[0] == 0 || b[0] == 127 || b[0] >= 224 || (b[0] == 169 && b[1] == 254) || is_cloud_v4(b);
}

static const struct ip_prefix special_v6[] = {
    {{AF_INET6, {0}}, 96},                                                      /* ::, ::1, compatible */
    {{AF_INET6, {[10] = 0xff, 0xff}}, 96},                                      /* mapped */
    {{AF_INET6, {[8] = 0xff, 0xff}}, 96},                                       /* translated, RFC 2765 */
    {{AF_INET6, {0x00, 0x64, 0xff, 0x9b, 0x00, 0x01}}, 48},                     /* local NAT64 */
    {{AF_INET6, {0x20, 0x01}}, 32},                                             /* Teredo, RFC 4380 */
    {{AF_INET6, {0xfe, 0x80}}, 9},                                              /* link-local, site-local */
    {{AF_INET6, {0xff}}, 8},                                                    /* multicast */
    {{AF_INET6, {0xfd, 0x00, 0x0e, 0xc2}}, 32},                                 /* AWS */
    {{AF_INET6, {0xfd, 0x20, 0x00, 0xce}}, 48},                                 /* GCP */
    {{AF_INET6, {0xfd, 0x00, 0x00, 0xc1, [12] = 0xa9, 0xfe, 0xa9, 0xfe}}, 128}, /* Oracle */
    {{AF_INET6, {0xfd, 0x00, 0x00, 0x42, [15] = 0x42}}, 128},                   /* Scaleway */
};

const struct ip_embedding ip_embeddings[IP_EMBEDDINGS] = {
    {.prefix = {0, 0x64, 0xff, 0x9b}, .prefix_size = 12, .at = 12},
    {.prefix = {0x20, 0x02}, .prefix_size = 2, .at = 2},
};

bool ip_embedded(const struct ip_addr *addr, struct ip_addr *ret)
{
    for (size_t i = 0; i < IP_EMBEDDINGS && addr->family == AF_INET6; i++) {
        const struct ip_embedding *form = &ip_embeddings[i];
        if (memcmp(addr->bytes, form->prefix, form->prefix_size))
            continue;
        *ret = ip_from_v4(addr->bytes + form->at);
        return true;
    }
    return false;
}

bool ip_leads_to(const struct ip_addr *addr, struct ip_addr *ret)
{
    static const uint8_t isatap[3] = {0, 0x5e, 0xfe};
    if (ip_embedded(addr, ret))
        return true;
    if (addr->family != AF_INET6 || (addr->bytes[8] & ~2) || memcmp(addr->bytes + 9, isatap, sizeof(isatap)))
        return false;
    *ret = ip_from_v4(addr->bytes + 12);
    return true;
}

bool ip_is_special(const struct ip_addr *addr)
{
    if (addr->family == AF_INET)
        return is_special_v4(addr->bytes);
    for (size_t i = 0; i < sizeof(special_v6) / sizeof(special_v6[0]); i++)
        if (ip_prefix_has(&special_v6[i], addr))
            return true;
    return false;
}

bool ip_is_loopback(const struct ip_addr *addr)
{
    static const struct ip_addr v6 = {AF_INET6, {[15] = 1}};
    return addr->family == AF_INET ? addr->bytes[0] == 127 : ip_equal(addr, &v6);
}

bool ip_next(const struct ip_addr *addr, struct ip_addr *ret)
{
    struct ip_addr next = *addr;
    for (size_t i = ip_size(addr->family); i-- > 0;) {
        if (++next.bytes[i] != 0) {
            *ret = next;
            return true;
        }
    }
    return false;
}

struct sock_addr sock_addr_make(const struct ip_addr *addr, uint16_t port)
{
    struct sock_addr sa;
    memset(&sa, 0, sizeof(sa)); /* all of the union, which an initializer need not: it is compared whole */
    if (addr->family == AF_INET) {
        sa.in.sin_family = AF_INET;
        sa.in.sin_port = htons(port);
        memcpy(&sa.in.sin_addr, addr->bytes, 4);
    } else {
        sa.in6.sin6_family = AF_INET6;
        sa.in6.sin6_port = htons(port);
        memcpy(&sa.in6.sin6_addr, addr->bytes, 16);
    }
    return sa;
}

int sock_addr_parse(const char *text, uint16_t default_port, struct sock_addr *ret)
{
    char host[SOCK_ADDR_TEXT_MAX];
    const char *port = NULL;
    size_t host_len = strlen(text);
    bool bracketed = text[0] == '[';
    if (bracketed) {
        const char *end = strchr(text, ']');
        if (!end || (end[1] && end[1] != ':'))
            return -EINVAL;
        port = end[1] ? end + 2 : NULL;
        text++;
        host_len = (size_t)(end - text);
    } else {
        const char *colon = strchr(text, ':');
        if (colon && !strchr(colon + 1, ':')) {
            port = colon + 1;
            host_len = (size_t)(colon - text);
        }
    }
    if (host_len >= sizeof(host))
        return -EINVAL;
    memcpy(host, text, host_len);
    host[host_len] = '\0';
    unsigned number = default_port;
    if (port && (parse_decimal(port, 65535, &number) || number == 0))
        return -EINVAL;
    struct ip_addr addr;
    if (ip_parse(host, &addr) || (bracketed && addr.family != AF_INET6))
        return -EINVAL;
    *ret = sock_addr_make(&addr, (uint16_t)number);
    return 0;
}

struct ip_addr sock_addr_ip(const struct sock_addr *addr)
{
    return addr->sa.sa_family == AF_INET ? ip_from_v4(&addr->in.sin_addr) : ip_from_v6(&addr->in6.sin6_addr);
}

uint16_t sock_addr_port(const struct sock_addr *addr)
{
    return ntohs(addr->sa.sa_family == AF_INET ? addr->in.sin_port : addr->in6.sin6_port);
}

socklen_t sock_addr_len(const struct sock_addr *addr)
{
    return addr->sa.sa_family == AF_INET ? sizeof(addr->in) : sizeof(addr->in6);
}

bool sock_addr_equal(const struct sock_addr *a, const struct sock_addr *b)
{
    if (a->sa.sa_family != b->sa.sa_family || sock_addr_port(a) != sock_addr_port(b))
        return false;
    struct ip_addr left = sock_addr_ip(a), right = sock_addr_ip(b);
    bool same_zone = left.family == AF_INET || a->in6.sin6_scope_id == b->in6.sin6_scope_id;
    return ip_equal(&left, &right) && same_zone;
}

const char *sock_addr_format(const struct sock_addr *addr, char out[SOCK_ADDR_TEXT_MAX])
{
    char host[IP_TEXT_MAX];
    struct ip_addr ip = sock_addr_ip(addr);
    snprintf(out, SOCK_ADDR_TEXT_MAX, ip.family == AF_INET ? "%s:%u" : "[%s]:%u", ip_format(&ip, host),
             sock_addr_port(addr));
    return out;
}
