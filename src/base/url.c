#include "base/url.h"

#include "base/text.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define PORT_HTTP 80
#define PORT_HTTPS 443
#define NAME_MAX_OCTETS 253
#define LABEL_MAX 63

/* A piece of the text. */
struct span {
    const char *at;
    size_t len;
};

static bool take_scheme(const char **at, bool *ret_tls)
{
    static const char *const schemes[] = {"http://", "https://"};
    for (size_t i = 0; i < 2; i++) {
        size_t len = strlen(schemes[i]);
        if (strncasecmp(*at, schemes[i], len))
            continue;
        *at += len;
        *ret_tls = i;
        return true;
    }
    return false;
}

/* The piece up to path, query or fragment, and within it what follows user and password. */
static struct span authority_at(const char *at)
{
    struct span all = {at, strcspn(at, "/?#\\")};
    const char *userinfo_end = memrchr(all.at, '@', all.len);
    if (!userinfo_end)
        return all;
    size_t skipped = (size_t)(userinfo_end + 1 - all.at);
    return (struct span){all.at + skipped, all.len - skipped};
}

static bool is_name(const char *host)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
    size_t len = strlen(host);
    if (!len || len > NAME_MAX_OCTETS + (host[len - 1] == '.') || !strcmp(host, "."))
        return false;
    for (const char *label = host; *label;) {
        size_t n = strspn(label, letters);
        if (!n || n > LABEL_MAX || (label[n] && label[n] != '.'))
            return false;
        label += n + (label[n] == '.');
    }
    return true;
}

/* Digits and dots that are no address would be taken for one in forms that nobody writes on purpose (1.2, 0x7f.1). */
static bool looks_numeric(const char *host)
{
    const char *last = strrchr(host, '.');
    last = last ? last + 1 : host;
    return *last && (!last[strspn(last, "0123456789")] || !strncasecmp(last, "0x", 2));
}

static int parse_host(struct span span, bool bracketed, struct url *ret)
{
    if (!span.len || span.len >= sizeof(ret->host))
        return -EINVAL;
    memcpy(ret->host, span.at, span.len);
    ret->host[span.len] = '\0';
    ret->literal = !ip_parse(ret->host, &ret->addr);
    if (bracketed)
        return ret->literal && ret->addr.family == AF_INET6 ? 0 : -EINVAL;
    if (ret->literal)
        return ret->addr.family == AF_INET ? 0 : -EINVAL;
    return is_name(ret->host) && !looks_numeric(ret->host) ? 0 : -EINVAL;
}

static int parse_port(struct span span, struct url *ret)
{
    char text[6];
    unsigned port;
    if (span.len >= sizeof(text))
        return -EINVAL;
    memcpy(text, span.at, span.len);
    text[span.len] = '\0';
    if (!text_whole_number(text, 1, 65535, &port))
        return -EINVAL;
    ret->port = (uint16_t)port;
    return 0;
}

int url_parse(const char *text, struct url *ret)
{
    struct url url = {0};
    for (const char *c = text; *c; c++)
        if (*c <= ' ' || *c >= 0x7f)
            return -EINVAL;
    if (!take_scheme(&text, &url.tls))
        return -EINVAL;
    struct span authority = authority_at(text), host = authority;
    bool bracketed = host.len && *host.at == '[';
    const char *end;
    if (bracketed) {
        end = memchr(host.at, ']', host.len);
        if (!end)
            return -EINVAL;
        host = (struct span){host.at + 1, (size_t)(end - host.at - 1)};
        end++;
    } else {
        end = memchr(host.at, ':', host.len);
        if (end)
            host.len = (size_t)(end - host.at);
        else
            end = host.at + host.len;
    }
    struct span rest = {end, (size_t)(authority.at + authority.len - end)};
    url.port = url.tls ? PORT_HTTPS : PORT_HTTP;
    int error = parse_host(host, bracketed, &url);
    if (!error && rest.len)
        error = *rest.at == ':' ? parse_port((struct span){rest.at + 1, rest.len - 1}, &url) : -EINVAL;
    if (error)
        return error;
    *ret = url;
    return 0;
}

const char *url_shown(const char *text, char out[URL_SHOWN_MAX])
{
    const char *scheme_end = strstr(text, "://");
    struct span scheme = {text, scheme_end ? (size_t)(scheme_end + 3 - text) : 0};
    const char *start = text + scheme.len;
    struct span authority = authority_at(start);
    snprintf(out, URL_SHOWN_MAX, "%.*s%s%.*s%s", (int)(scheme.len < 16 ? scheme.len : 16), scheme.at,
             authority.at > start ? "...@" : "", (int)(authority.len < URL_HOST_MAX ? authority.len : URL_HOST_MAX),
             authority.at, authority.at[authority.len] ? "/..." : "");
    return out;
}
