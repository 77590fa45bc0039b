#include "telemetry/console.h"

#include "telemetry/instruments.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <time.h>

static void put_time(struct buf *out, uint64_t ns)
{
    char text[sizeof("2026-11-22T06:00:00")];
    time_t seconds = (time_t)(ns / 1000000000);
    struct tm tm;
    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", gmtime_r(&seconds, &tm));
    buf_printf(out, "%s.%03dZ", text, (int)(ns % 1000000000 / 1000000));
}

static void put_attribute(struct buf *out, const char *key, const char *text, int64_t integer)
{
    buf_printf(out, " %s=", key);
    if (text)
        buf_json_string(out, text, strlen(text));
    else
        buf_printf(out, "%" PRId64, integer);
}

static void put_bucket(struct buf *out, double above, double to, uint64_t count)
{
    if (count)
        buf_printf(out, " (%.6g, %.6g]: %" PRIu64, above, to, count);
}

static void put_buckets(struct buf *out, const struct histogram_data *h)
{
    for (size_t i = 0; i <= h->n_bounds; i++)
        put_bucket(out, i ? h->bounds[i - 1] : -INFINITY, i < h->n_bounds ? h->bounds[i] : INFINITY, h->counts[i]);
}

static void put_exponential_buckets(struct buf *out, const struct histogram_data *h)
{
    double doublings = exp2(-h->scale); /* that one bucket is wide */
    if (h->zero_count)
        buf_printf(out, " 0: %" PRIu64, h->zero_count);
    for (size_t i = 0; i < h->n_positive; i++)
        put_bucket(out, exp2((h->offset + (double)i) * doublings), exp2((h->offset + (double)i + 1) * doublings),
                   h->positive[i]);
}

static void put_histogram(struct buf *out, const struct metric_data *metric, const struct histogram_data *h)
{
    buf_printf(out, " count %" PRIu64 " sum %.9g", h->count, h->sum);
    if (h->has_range)
        buf_printf(out, " min %.9g max %.9g", h->min, h->max);
    if (metric->kind == METRIC_HISTOGRAM)
        put_buckets(out, h);
    else
        put_exponential_buckets(out, h);
}

static void put_metric(struct buf *out, const struct metric_data *metric)
{
    static const char *const kinds[] = {[METRIC_GAUGE] = "gauge",
                                        [METRIC_SUM] = "sum",
                                        [METRIC_HISTOGRAM] = "histogram",
                                        [METRIC_EXPONENTIAL_HISTOGRAM] = "exponential histogram"};
    buf_printf(out, "  %s %s%s", metric->name, metric->unit, *metric->unit ? " " : "");
    if (metric->kind == METRIC_SUM && metric->monotonic)
        buf_puts(out, "monotonic ");
    buf_puts(out, kinds[metric->kind]);
    if (metric->kind != METRIC_GAUGE) {
        buf_puts(out, metric->temporality == METRIC_DELTA ? ", delta since " : ", cumulative since ");
        put_time(out, metric->points[0].start_ns);
    }
    buf_putc(out, '\n');
    for (size_t i = 0; i < metric->n_points; i++) {
        const struct metric_point *point = &metric->points[i];
        buf_puts(out, "   ");
        for (size_t k = 0; k < point->n_attributes; k++)
            put_attribute(out, point->attributes[k].key, point->attributes[k].text, point->attributes[k].integer);
        if (metric->kind >= METRIC_HISTOGRAM)
            put_histogram(out, metric, &point->histogram);
        else if (point->is_double)
            buf_printf(out, " %.9g", point->number);
        else
            buf_printf(out, " %" PRId64, point->integer);
        buf_putc(out, '\n');
    }
}

void console_render(const struct metrics_data *data, const struct resource *resource,
                    const struct attribute *attributes, size_t n_attributes, struct buf *out)
{
    buf_puts(out, "metrics of " INSTRUMENTS_SCOPE " at ");
    put_time(out, data->n_metrics ? data->metrics[0].points[0].time_ns : 0);
    for (size_t i = 0; i < resource->n; i++)
        put_attribute(out, resource->attributes[i].key, resource->attributes[i].text, resource->attributes[i].integer);
    if (n_attributes)
        buf_puts(out, ", all points:");
    for (size_t i = 0; i < n_attributes; i++)
        put_attribute(out, attributes[i].key, attributes[i].value, 0);
    buf_putc(out, '\n');
    for (size_t i = 0; i < data->n_metrics; i++)
        put_metric(out, &data->metrics[i]);
    buf_putc(out, '\n');
}
