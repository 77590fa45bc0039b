#include "dns/resolv_conf.h"

#include <string.h>

#define DNS_PORT 53

static bool is_loopback(const struct ip_addr *addr)
{
    struct ip_addr v6_loopback = {.family = AF_INET6, .bytes[15] = 1};
    return addr->family == AF_INET ? addr->bytes[0] == 127 : ip_equal(addr, &v6_loopback);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

/* The address of a `nameserver` line. As in the C library the keyword stands at the start of the line and what follows
 * the address is ignored. */
static bool parse_line(const char *line, size_t len, struct sock_addr *ret)
{
    static const char keyword[] = "nameserver";
    size_t at = sizeof(keyword) - 1;
    if (len <= at || memcmp(line, keyword, at) || !is_blank(line[at]))
        return false;
    while (at < len && is_blank(line[at]))
        at++;
    char text[IP_TEXT_MAX];
    size_t n = 0;
    while (at < len && !is_blank(line[at]) && line[at] != '#' && line[at] != ';' && n < sizeof(text) - 1)
        text[n++] = line[at++];
    text[n] = '\0';
    struct ip_addr addr;
    if (ip_parse(text, &addr))
        return false;
    *ret = sock_addr_make(&addr, DNS_PORT);
    return true;
}

static void add_once(struct sock_addr *list, size_t *n, const struct sock_addr *addr)
{
    for (size_t i = 0; i < *n; i++)
        if (sock_addr_equal(&list[i], addr))
            return;
    if (*n < RESOLV_CONF_SERVERS_MAX)
        list[(*n)++] = *addr;
}

size_t resolv_conf_nameservers(const char *text, size_t len, struct sock_addr ret[RESOLV_CONF_SERVERS_MAX])
{
    struct sock_addr remote[RESOLV_CONF_SERVERS_MAX], loopback[RESOLV_CONF_SERVERS_MAX];
    size_t n_remote = 0, n_loopback = 0;
    for (const char *end = text + len; text < end;) {
        const char *newline = memchr(text, '\n', (size_t)(end - text));
        size_t line_len = (size_t)((newline ? newline : end) - text);
        struct sock_addr addr;
        if (parse_line(text, line_len, &addr)) {
            struct ip_addr ip = sock_addr_ip(&addr);
            if (is_loopback(&ip))
                add_once(loopback, &n_loopback, &addr);
            else
                add_once(remote, &n_remote, &addr);
        }
        text += line_len + (newline != NULL);
    }
    size_t n = 0;
    for (size_t i = 0; i < n_remote; i++)
        ret[n++] = remote[i];
    for (size_t i = 0; i < n_loopback && n < RESOLV_CONF_SERVERS_MAX; i++)
        ret[n++] = loopback[i];
    return n;
}
