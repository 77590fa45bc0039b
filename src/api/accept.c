#include "api/accept.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define LINEAR_SPACE " \t"

/* A part of the header between separators, without the space around it. */
struct part {
    const char *text;
    size_t len;
};

/* Cuts the next part off; quoted strings are not cut through. False when there is none. */
static bool next_part(const char **rest, const char *end, char separator, struct part *ret)
{
    const char *start = *rest, *at = start;
    if (start > end)
        return false;
    for (bool quoted = false; at < end && (quoted || *at != separator); at++) {
        if (*at == '"')
            quoted = !quoted;
        else if (quoted && *at == '\\' && at + 1 < end)
            at++;
    }
    *rest = at + 1;
    while (start < at && strchr(LINEAR_SPACE, *start))
        start++;
    while (at > start && strchr(LINEAR_SPACE, at[-1]))
        at--;
    *ret = (struct part){start, (size_t)(at - start)};
    return true;
}

static bool is(struct part part, const char *text)
{
    return part.len == strlen(text) && !strncasecmp(part.text, text, part.len);
}

static bool starts(struct part part, const char *text)
{
    size_t len = strlen(text);
    return part.len >= len && !strncasecmp(part.text, text, len);
}

/* 0 to 1; what is no number counts as 0: it is not asked for. */
static double quality(struct part part)
{
    char text[8] = "";
    if (part.len && part.len < sizeof(text))
        memcpy(text, part.text, part.len);
    double q = strtod(text, NULL);
    return q > 0 && q <= 1 ? q : 0;
}

struct range {
    struct part type;
    double q;
    bool known_version; /* none, or one that we have */
};

static struct range parse_range(struct part item)
{
    const char *rest = item.text, *end = item.text + item.len;
    struct range range = {.q = 1, .known_version = true};
    struct part parameter;
    next_part(&rest, end, ';', &range.type);
    while (next_part(&rest, end, ';', &parameter)) {
        if (starts(parameter, "q="))
            range.q = quality((struct part){parameter.text + 2, parameter.len - 2});
        else if (starts(parameter, "version="))
            range.known_version = is(parameter, "version=1.0.0") || is(parameter, "version=\"1.0.0\"");
    }
    return range;
}

bool accept_prefers_openmetrics(const char *accept)
{
    double openmetrics = 0, text = 0;
    int text_named = 0; /* how exactly: the most exact range counts */
    if (!accept)
        return false;
    const char *rest = accept, *end = accept + strlen(accept);
    struct part item;
    while (next_part(&rest, end, ',', &item)) {
        struct range range = parse_range(item);
        if (is(range.type, "application/openmetrics-text")) {
            if (range.known_version && range.q > openmetrics)
                openmetrics = range.q;
            continue;
        }
        int named = is(range.type, "text/plain") ? 3 : is(range.type, "text/*") ? 2 : is(range.type, "*/*") ? 1 : 0;
        if (named > text_named || (named && named == text_named && range.q > text)) {
            text_named = named;
            text = range.q;
        }
    }
    return openmetrics > 0 && openmetrics >= text;
}

bool accept_takes_gzip(const char *encodings)
{
    double gzip = -1, others = 0;
    const char *rest = encodings ? encodings : "", *end = rest + strlen(rest);
    struct part item;
    while (next_part(&rest, end, ',', &item)) {
        struct range range = parse_range(item);
        if (is(range.type, "gzip"))
            gzip = range.q;
        else if (is(range.type, "*"))
            others = range.q;
    }
    return gzip > 0 || (gzip < 0 && others > 0);
}
