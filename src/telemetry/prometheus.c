#include "telemetry/prometheus.h"

#include "base/cleanup.h"
#include "telemetry/instruments.h"
#include "telemetry/labels.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define NAME_MAX_LEN 128
#define NUMBER_MAX 32

struct prometheus {
    struct collector *collector;
    struct buf labels; /* of every sample, each with a comma behind it */
    struct buf target; /* of target_info */
};

/* The labels that we put there ourselves: an attribute of the user's must not take their place. */
static const char *const reserved[] = {
    "le",
    "result",
    "proto",
    "family",
    "limit",
    "cpu_mode",
    "error_type",
    "http_request_method",
    "http_route",
    "http_response_status_code",
    "otel_metric_overflow",
    "otel_scope_name",
    "otel_scope_version",
};

/* A family's name as it is written, and the unit that is part of it. */
struct family {
    char name[NAME_MAX_LEN]; /* without _total */
    const char *unit;        /* NULL: none */
    const char *type;
    bool counter;
};

struct exposition {
    const struct prometheus *prometheus;
    enum prometheus_format format;
    struct buf *out;
};

static bool ends_with(const char *text, const char *end)
{
    size_t len = strlen(text), end_len = strlen(end);
    return len >= end_len && !strcmp(text + len - end_len, end);
}

/* Braces are a comment (UCUM), and a number of nothing is only called a ratio where it can be one. */
static const char *unit_word(const struct metric_data *metric)
{
    if (!strcmp(metric->unit, "s"))
        return "seconds";
    if (!strcmp(metric->unit, "By"))
        return "bytes";
    if (!strcmp(metric->unit, "1") && metric->kind == METRIC_GAUGE)
        return "ratio";
    return NULL;
}

static struct family family_of(const struct metric_data *metric)
{
    struct family family = {.unit = unit_word(metric), .type = "gauge"};
    family.counter = metric->kind == METRIC_SUM && metric->monotonic;
    if (metric->kind == METRIC_HISTOGRAM)
        family.type = "histogram";
    else if (family.counter)
        family.type = "counter";
    size_t len = strlen(metric->name);
    if (family.counter && ends_with(metric->name, "_total"))
        len -= strlen("_total");
    snprintf(family.name, sizeof(family.name), "%.*s", (int)len, metric->name);
    for (char *dot = family.name; (dot = strchr(dot, '.'));)
        *dot = '_';
    len = strlen(family.name);
    if (family.unit && !ends_with(family.name, family.unit))
        snprintf(family.name + len, sizeof(family.name) - len, "_%s", family.unit);
    return family;
}

/* The shortest decimal that is read as the same number. */
static void format_number(double number, char ret[NUMBER_MAX])
{
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(ret, NUMBER_MAX, "%.*g", digits, number);
        if (strtod(ret, NULL) == number)
            return;
    }
}

static void put_header(struct exposition *e, const struct family *family, const char *help)
{
    bool openmetrics = e->format == PROMETHEUS_OPENMETRICS;
    const char *total = family->counter && !openmetrics ? "_total" : "";
    buf_printf(e->out, "# HELP %s%s %s\n# TYPE %s%s %s\n", family->name, total, help, family->name, total,
               family->type);
    if (openmetrics && family->unit)
        buf_printf(e->out, "# UNIT %s %s\n", family->name, family->unit);
}

/* `le`: of a bucket, or NULL. */
static void put_sample(struct exposition *e, const char *name, const char *suffix, const struct metric_point *point,
                       const char *le, const char *value)
{
    char number[NUMBER_MAX];
    buf_puts(e->out, name);
    buf_puts(e->out, suffix);
    buf_putc(e->out, '{');
    for (size_t i = 0; i < point->n_attributes; i++) {
        const struct metric_attribute *attribute = &point->attributes[i];
        labels_name(e->out, attribute->key);
        buf_putc(e->out, '=');
        snprintf(number, sizeof(number), "%" PRId64, attribute->integer);
        labels_quote(e->out, attribute->text ? attribute->text : number);
        buf_putc(e->out, ',');
    }
    buf_append(e->out, e->prometheus->labels.data, e->prometheus->labels.len);
    if (le)
        buf_printf(e->out, "le=\"%s\"", le);
    else
        e->out->len -= !e->out->failed; /* the last comma */
    buf_puts(e->out, "} ");
    buf_puts(e->out, value);
    buf_putc(e->out, '\n');
}

static void put_histogram(struct exposition *e, const char *name, const struct metric_point *point)
{
    const struct histogram_data *histogram = &point->histogram;
    char le[NUMBER_MAX + 2], value[NUMBER_MAX];
    uint64_t below = 0;
    for (size_t i = 0; i < histogram->n_bounds; i++) {
        below += histogram->counts[i];
        format_number(histogram->bounds[i], le);
        if (!strpbrk(le, ".e")) /* OpenMetrics wants to see that it is no integer; one spelling for both formats */
            strcat(le, ".0");
        snprintf(value, sizeof(value), "%" PRIu64, below);
        put_sample(e, name, "_bucket", point, le, value);
    }
    snprintf(value, sizeof(value), "%" PRIu64, histogram->count);
    put_sample(e, name, "_bucket", point, "+Inf", value);
    put_sample(e, name, "_count", point, NULL, value);
    format_number(histogram->sum, value);
    put_sample(e, name, "_sum", point, NULL, value);
}

static void put_metric(struct exposition *e, const struct metric_data *metric)
{
    struct family family = family_of(metric);
    char value[NUMBER_MAX];
    put_header(e, &family, metric->description);
    for (size_t i = 0; i < metric->n_points; i++) {
        const struct metric_point *point = &metric->points[i];
        if (metric->kind == METRIC_HISTOGRAM) {
            put_histogram(e, family.name, point);
            continue;
        }
        if (point->is_double)
            format_number(point->number, value);
        else
            snprintf(value, sizeof(value), "%" PRId64, point->integer);
        put_sample(e, family.name, family.counter ? "_total" : "", point, NULL, value);
    }
}

static void put_target(struct exposition *e)
{
    bool openmetrics = e->format == PROMETHEUS_OPENMETRICS;
    buf_printf(e->out, "# HELP target%s What these metrics are about\n# TYPE target%s %s\ntarget_info{",
               openmetrics ? "" : "_info", openmetrics ? "" : "_info", openmetrics ? "info" : "gauge");
    buf_append(e->out, e->prometheus->target.data, e->prometheus->target.len);
    e->out->len -= !e->out->failed; /* the last comma */
    buf_puts(e->out, "} 1\n");
}

void prometheus_scrape(struct prometheus *prometheus, uint64_t now_ns, enum prometheus_format format, struct buf *out)
{
    struct exposition e = {.prometheus = prometheus, .format = format, .out = out};
    const struct metrics_data *data = collector_collect(prometheus->collector, now_ns);
    put_target(&e);
    for (size_t i = 0; i < data->n_metrics; i++)
        put_metric(&e, &data->metrics[i]);
    if (format == PROMETHEUS_OPENMETRICS)
        buf_puts(out, "# EOF\n");
}

void prometheus_free(struct prometheus *prometheus)
{
    if (!prometheus)
        return;
    collector_free(prometheus->collector);
    buf_done(&prometheus->labels);
    buf_done(&prometheus->target);
    free(prometheus);
}

DEFINE_CLEANUP(struct prometheus, cleanup_prometheus, prometheus_free);

static int make_labels(struct prometheus *prometheus, const struct prometheus_settings *settings)
{
    _cleanup_free_ struct metric_attribute *attributes = calloc(settings->n_attributes + 1, sizeof(*attributes));
    if (!attributes)
        return -ENOMEM;
    for (size_t i = 0; i < settings->n_attributes; i++)
        attributes[i] =
            (struct metric_attribute){.key = settings->attributes[i].key, .text = settings->attributes[i].value};
    labels_append(&prometheus->labels, attributes, settings->n_attributes, reserved,
                  sizeof(reserved) / sizeof(reserved[0]));
    struct metric_attribute scope[] = {{.key = "otel_scope_name", .text = INSTRUMENTS_SCOPE},
                                       {.key = "otel_scope_version", .text = settings->version}};
    labels_append(&prometheus->labels, scope, 2, NULL, 0);
    labels_append(&prometheus->target, settings->resource->attributes, settings->resource->n, NULL, 0);
    return prometheus->labels.failed || prometheus->target.failed ? -ENOMEM : 0;
}

int prometheus_new(struct meter *meter, const struct prometheus_settings *settings, struct prometheus **ret)
{
    _cleanup_(cleanup_prometheus) struct prometheus *prometheus = calloc(1, sizeof(*prometheus));
    struct collector_settings collecting = {.preference = PREFER_CUMULATIVE};
    int error = prometheus ? make_labels(prometheus, settings) : -ENOMEM;
    if (!error)
        error = collector_new(meter, &collecting, &prometheus->collector);
    if (error)
        return error;
    *ret = take_pointer(prometheus);
    return 0;
}
