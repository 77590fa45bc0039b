#include "telemetry/otel_reader.h"

#include "base/cleanup.h"
#include "base/text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

void otel_warn(struct otel_reader *r, const char *format, ...)
{
    char *line;
    va_list args;
    va_start(args, format);
    int len = vasprintf(&line, format, args);
    va_end(args);
    char **list = reallocarray(r->env->warnings, r->env->n_warnings + 1, sizeof(*list));
    if (list)
        r->env->warnings = list;
    if (len < 0 || !list) {
        r->error = -ENOMEM;
        if (len >= 0)
            free(line);
        return;
    }
    /* A general variable is read once for each signal. */
    for (size_t i = 0; i < r->env->n_warnings; i++) {
        if (!strcmp(list[i], line)) {
            free(line);
            return;
        }
    }
    list[r->env->n_warnings++] = line;
}

void otel_expected(struct otel_reader *r, const char *name, const char *value, const char *what)
{
    otel_warn(r, "%s=\"%.200s\": expected %s; not used", name, value, what);
}

char *otel_value_of(struct otel_reader *r, const char *name)
{
    const char *raw = getenv(name);
    char *value = raw ? text_trimmed(raw, strlen(raw)) : NULL;
    if (raw && !value)
        r->error = -ENOMEM;
    if (value && *value)
        return value;
    free(value);
    return NULL;
}

bool otel_read_number(struct otel_reader *r, const char *name, unsigned min, unsigned max, unsigned *ret)
{
    _cleanup_free_ char *value = otel_value_of(r, name);
    if (!value)
        return false;
    if (text_whole_number(value, min, max, ret))
        return true;
    char what[64];
    snprintf(what, sizeof(what), "a whole number from %u to %u", min, max);
    otel_expected(r, name, value, what);
    return false;
}

bool otel_read_word(struct otel_reader *r, const char *name, const char *const *words, size_t n, const char *what,
                    unsigned *ret)
{
    _cleanup_free_ char *value = otel_value_of(r, name);
    for (unsigned i = 0; value && i < n; i++) {
        if (!strcasecmp(value, words[i])) {
            *ret = i;
            return true;
        }
    }
    if (value)
        otel_expected(r, name, value, what);
    return false;
}

/* What is not `true` is false, as the specification wants it, also where the general variable says true: whoever wrote
 * METRICS_INSECURE=0 did not ask for plaintext. */
bool otel_read_bool(struct otel_reader *r, const char *name, void *ret)
{
    _cleanup_free_ char *value = otel_value_of(r, name);
    if (!value)
        return false;
    *(bool *)ret = !strcasecmp(value, "true");
    if (!*(bool *)ret && strcasecmp(value, "false"))
        otel_warn(r, "%s=\"%.200s\": expected true or false; counts as false", name, value);
    return true;
}

bool otel_read_text(struct otel_reader *r, const char *name, void *ret)
{
    char *value = otel_value_of(r, name);
    if (value)
        *(char **)ret = value;
    return value;
}

struct exporter_list {
    struct otel_reader *reader;
    const char *name;
    struct otel_exporters *found;
    bool any;
};

static int add_exporter(void *ctx, const char *word)
{
    struct exporter_list *list = ctx;
    if (!*word)
        return 0;
    bool otlp = !strcasecmp(word, "otlp"), console = !strcasecmp(word, "console"), prometheus = list->found->prometheus;
    bool known = otlp || console || !strcasecmp(word, "none") || (prometheus && !strcasecmp(word, "prometheus"));
    list->any |= known;
    list->found->otlp |= otlp;
    list->found->console |= console;
    if (!known)
        otel_expected(list->reader, list->name, word,
                      prometheus ? "otlp, prometheus, console or none" : "otlp, console or none");
    return 0;
}

bool otel_read_exporters(struct otel_reader *r, const char *name, struct otel_exporters *ret)
{
    struct exporter_list list = {.reader = r, .name = name, .found = ret};
    _cleanup_free_ char *value = otel_value_of(r, name);
    if (value && text_split(value, ',', add_exporter, &list))
        r->error = -ENOMEM;
    return list.any;
}
