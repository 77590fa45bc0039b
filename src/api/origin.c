#include "api/origin.h"

#include "base/ip.h"

#include <stddef.h>
#include <string.h>
#include <strings.h>

#define HOST_MAX 254

/* The host of HOST, HOST:PORT, [V6] or [V6]:PORT, without brackets and a dot at its end. False: it is none. */
static bool cut_host(const char *authority, char ret[HOST_MAX])
{
    bool bracket = authority[0] == '[';
    const char *start = authority + bracket;
    size_t len = strcspn(start, bracket ? "]" : ":");
    if (len >= HOST_MAX || (bracket && start[len] != ']'))
        return false;
    while (!bracket && len > 1 && start[len - 1] == '.')
        len--;
    memcpy(ret, start, len);
    ret[len] = '\0';
    return len > 0;
}

static bool ends(const char *host, const char *suffix)
{
    size_t len = strlen(host), tail = strlen(suffix);
    return len > tail && !strcasecmp(host + len - tail, suffix);
}

static bool is_listed(const char *host, const char *list)
{
    for (const char *at = list ? list : ""; *at;) {
        size_t space = strspn(at, ", \t"), len = strcspn(at + space, ", \t");
        if (len == strlen(host) && !strncasecmp(at + space, host, len))
            return true;
        at += space + len;
    }
    return false;
}

static bool is_own_host(const char *authority, const char *hosts)
{
    static const char *const suffixes[] = {".localhost", ".local", ".internal",
                                           ".svc"}; /* and .cluster.local with it */
    char host[HOST_MAX];
    struct ip_addr addr;
    if (!cut_host(authority, host))
        return false;
    if (!ip_parse(host, &addr) || !strchr(host, '.') || is_listed(host, hosts))
        return true;
    for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++)
        if (ends(host, suffixes[i]))
            return true;
    return false;
}

/* An origin is SCHEME://HOST[:PORT], or "null"; which scheme a proxy in front of us has is its affair. */
static bool is_same(const char *origin, const char *host)
{
    const char *authority = strstr(origin, "://");
    return authority && host && !strcasecmp(authority + 3, host);
}

enum origin_verdict origin_look(const struct origin_headers *headers, const char *hosts)
{
    const char *site = headers->fetch_site; /* "none": a person's own doing */
    if (site && strcasecmp(site, "same-origin") && strcasecmp(site, "none"))
        return ORIGIN_FOREIGN;
    if (headers->origin && !is_same(headers->origin, headers->host))
        return ORIGIN_FOREIGN;
    if (headers->host && !is_own_host(headers->host, hosts))
        return ORIGIN_FOREIGN_HOST;
    return ORIGIN_FINE;
}
