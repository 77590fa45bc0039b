#include "telemetry/otel_value.h"

#include "base/cleanup.h"
#include "base/text.h"
#include "base/url.h"
#include "base/utf8.h"

#include <ctype.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define PAIRS_MAX 128
#define URL_MAX 4096

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Decodes in place; false when an escape is broken, a NUL would result, or the result is no UTF-8. */
static bool decode(char *text)
{
    char *out = text;
    for (const char *in = text; *in; out++) {
        int high, low;
        if (*in != '%') {
            *out = *in++;
            continue;
        }
        if ((high = hex_digit(in[1])) < 0 || (low = hex_digit(in[2])) < 0 || (!high && !low))
            return false;
        *out = (char)(high << 4 | low);
        in += 3;
    }
    *out = '\0';
    for (const uint8_t *s = (uint8_t *)text; *s;) {
        size_t n = *s < 0x80 ? 1 : utf8_sequence(s, strlen((const char *)s));
        if (!n)
            return false;
        s += n;
    }
    return true;
}

void otel_pairs_done(struct otel_pairs *pairs)
{
    for (size_t i = 0; i < pairs->n; i++) {
        free((void *)(uintptr_t)pairs->list[i].key);
        free((void *)(uintptr_t)pairs->list[i].value);
    }
    free(pairs->list);
    *pairs = (struct otel_pairs){0};
}

struct pair_list {
    struct otel_pairs pairs;
    bool (*fits)(const struct attribute *pair);
    size_t bad;
};

static int add_pair(void *ctx, const char *part)
{
    struct pair_list *list = ctx;
    const char *equals = strchr(part, '=');
    if (!*part)
        return 0;
    if (!equals || list->pairs.n == PAIRS_MAX) {
        list->bad++;
        return 0;
    }
    _cleanup_free_ char *key = text_trimmed(part, (size_t)(equals - part));
    _cleanup_free_ char *value = text_trimmed(equals + 1, strlen(equals + 1));
    struct attribute *longer = reallocarray(list->pairs.list, list->pairs.n + 1, sizeof(*longer));
    if (longer)
        list->pairs.list = longer;
    if (!key || !value || !longer)
        return -ENOMEM;
    struct attribute pair = {key, value};
    if (!decode(key) || !decode(value) || !*key || (list->fits && !list->fits(&pair))) {
        list->bad++;
        return 0;
    }
    longer[list->pairs.n++] = (struct attribute){take_pointer(key), take_pointer(value)};
    return 0;
}

int otel_pairs_parse(const char *text, bool whole, bool (*fits)(const struct attribute *pair), struct otel_pairs *ret,
                     size_t *ret_bad)
{
    struct pair_list list = {.fits = fits};
    int error = text_split(text, ',', add_pair, &list);
    if (error || (whole && list.bad))
        otel_pairs_done(&list.pairs);
    if (error)
        return error;
    *ret = list.pairs;
    *ret_bad = list.bad;
    return 0;
}

static bool is_token(const char *text)
{
    for (; *text; text++)
        if (!isalnum((unsigned char)*text) && !strchr("!#$%&'*+-.^_`|~", *text))
            return false;
    return true;
}

bool otel_header_fits(const struct attribute *pair)
{
    /* What the exporter says of its requests, and what the connection is made of. */
    static const char *const ours[] = {"host", "content-type", "content-length",    "content-encoding", "connection",
                                       "te",   "expect",       "transfer-encoding", "upgrade"};
    for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
        if (!strcasecmp(pair->key, ours[i]))
            return false;
    if (!is_token(pair->key) || !strncasecmp(pair->key, "grpc-", 5))
        return false;
    for (const unsigned char *c = (const unsigned char *)pair->value; *c; c++)
        if (*c < 0x20 || *c == 0x7f)
            return false;
    return true;
}

/* --- endpoints --- */

/* What follows the scheme; NULL when there is none, or another one. */
static const char *after_scheme(const char *endpoint, const char **ret_scheme)
{
    if (!strncasecmp(endpoint, "http://", 7)) {
        *ret_scheme = "http";
        return endpoint + 7;
    }
    if (!strncasecmp(endpoint, "https://", 8)) {
        *ret_scheme = "https";
        return endpoint + 8;
    }
    return NULL;
}

int otel_url(const char *endpoint, const char *path, const char *scheme, char **ret)
{
    const char *rest = after_scheme(endpoint, &scheme);
    if (!rest && (!scheme || strstr(endpoint, "://")))
        return -EINVAL;
    if (!rest)
        rest = endpoint;
    size_t authority = strcspn(rest, "/?#");
    const char *own_path = rest + authority;
    size_t path_len = strcspn(own_path, "?#");
    const char *query = own_path + path_len;
    if (memchr(rest, '@', authority) || strchr(query, '#') || strlen(endpoint) > URL_MAX)
        return -EINVAL;
    if (path && path_len && own_path[path_len - 1] == '/')
        path_len--;
    if (!path)
        path = path_len ? "" : "/";
    char *made;
    if (asprintf(&made, "%s://%.*s%.*s%s%s", scheme, (int)authority, rest, (int)path_len, own_path, path, query) < 0)
        return -ENOMEM;
    struct url url;
    if (url_parse(made, &url)) {
        free(made);
        return -EINVAL;
    }
    *ret = made;
    return 0;
}
