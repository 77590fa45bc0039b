#include "telemetry/otlp_metrics.h"

#include "telemetry/protobuf.h"

#include <string.h>

/* Field numbers as in otlp.proto. */
#define DATA_POINTS 1
#define TEMPORALITY 2

struct common {
    const struct attribute *attributes;
    size_t n;
};

static void put_attributes(struct buf *out, unsigned field, const struct common *common,
                           const struct metric_point *point)
{
    for (size_t i = 0; i < common->n; i++)
        otlp_text_attribute(out, field, common->attributes[i].key, common->attributes[i].value,
                            strlen(common->attributes[i].value));
    for (size_t i = 0; i < point->n_attributes; i++) {
        const struct metric_attribute *a = &point->attributes[i];
        if (a->text)
            otlp_text_attribute(out, field, a->key, a->text, strlen(a->text));
        else
            otlp_int_attribute(out, field, a->key, a->integer);
    }
}

/* Start and time, which have the same numbers in all kinds of points. */
static void put_times(struct buf *out, const struct metric_point *point)
{
    if (point->start_ns)
        protobuf_fixed64(out, 2, point->start_ns);
    protobuf_fixed64(out, 3, point->time_ns);
}

static void put_number(struct buf *out, const struct common *common, const struct metric_point *point)
{
    put_times(out, point);
    if (point->is_double)
        protobuf_double(out, 4, point->number);
    else
        protobuf_fixed64(out, 6, (uint64_t)point->integer);
    put_attributes(out, 7, common, point);
}

static void put_histogram(struct buf *out, const struct common *common, const struct metric_point *point)
{
    const struct histogram_data *h = &point->histogram;
    put_times(out, point);
    protobuf_fixed64(out, 4, h->count);
    protobuf_double(out, 5, h->sum);
    protobuf_packed64(out, 6, h->counts, h->n_bounds + 1);
    protobuf_packed64(out, 7, h->bounds, h->n_bounds);
    put_attributes(out, 9, common, point);
    if (h->has_range) {
        protobuf_double(out, 11, h->min);
        protobuf_double(out, 12, h->max);
    }
}

static void put_buckets(struct buf *out, const struct histogram_data *h)
{
    size_t buckets = protobuf_begin(out, 8);
    if (h->offset)
        protobuf_zigzag(out, 1, h->offset);
    size_t counts = protobuf_begin(out, 2);
    for (size_t i = 0; i < h->n_positive; i++) {
        uint8_t *at = buf_room(out, PROTOBUF_VARINT_MAX);
        if (at)
            out->len += protobuf_put_varint(at, h->positive[i]);
    }
    protobuf_end(out, counts);
    protobuf_end(out, buckets);
}

static void put_exponential(struct buf *out, const struct common *common, const struct metric_point *point)
{
    const struct histogram_data *h = &point->histogram;
    put_attributes(out, 1, common, point);
    put_times(out, point);
    protobuf_fixed64(out, 4, h->count);
    protobuf_double(out, 5, h->sum);
    if (h->scale)
        protobuf_zigzag(out, 6, h->scale);
    if (h->zero_count)
        protobuf_fixed64(out, 7, h->zero_count);
    if (h->n_positive)
        put_buckets(out, h);
    if (h->has_range) {
        protobuf_double(out, 12, h->min);
        protobuf_double(out, 13, h->max);
    }
}

static void put_metric(struct buf *out, const struct common *common, const struct metric_data *metric)
{
    static const struct {
        unsigned field; /* of Metric */
        void (*put)(struct buf *out, const struct common *common, const struct metric_point *point);
    } kinds[] = {
        [METRIC_GAUGE] = {5, put_number},
        [METRIC_SUM] = {7, put_number},
        [METRIC_HISTOGRAM] = {9, put_histogram},
        [METRIC_EXPONENTIAL_HISTOGRAM] = {10, put_exponential},
    };
    size_t begun = protobuf_begin(out, 2);
    protobuf_string(out, 1, metric->name, strlen(metric->name));
    if (metric->description && *metric->description)
        protobuf_string(out, 2, metric->description, strlen(metric->description));
    if (metric->unit && *metric->unit)
        protobuf_string(out, 3, metric->unit, strlen(metric->unit));
    size_t data = protobuf_begin(out, kinds[metric->kind].field);
    for (size_t i = 0; i < metric->n_points; i++) {
        size_t point = protobuf_begin(out, DATA_POINTS);
        kinds[metric->kind].put(out, common, &metric->points[i]);
        protobuf_end(out, point);
    }
    if (metric->kind != METRIC_GAUGE)
        protobuf_varint(out, TEMPORALITY, metric->temporality);
    if (metric->kind == METRIC_SUM && metric->monotonic)
        protobuf_varint(out, 3, 1);
    protobuf_end(out, data);
    protobuf_end(out, begun);
}

void otlp_metrics_request(const struct otlp_frame *frame, const struct attribute *attributes, size_t n_attributes,
                          const struct metrics_data *data, struct buf *out, size_t *ret_points)
{
    const struct common common = {attributes, n_attributes};
    _cleanup_buf_ struct buf metrics = {0};
    size_t points = 0;
    for (size_t i = 0; i < data->n_metrics; i++) {
        if (!data->metrics[i].n_points) /* nothing was measured */
            continue;
        put_metric(&metrics, &common, &data->metrics[i]);
        points += data->metrics[i].n_points;
    }
    otlp_frame_wrap(frame, metrics.data, metrics.len, out);
    out->failed |= metrics.failed;
    *ret_points = points;
}
