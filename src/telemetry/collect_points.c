#include "telemetry/collect_state.h"

#include <string.h>

static void show_histogram(struct collector *collector, size_t place, struct histogram_data *ret)
{
    struct histogram_values *values = &collector->histograms[place];
    struct shown *shown = &collector->shown[place];
    *ret = (struct histogram_data){.count = values->count,
                                   .sum = values->sum,
                                   .has_range = values->count > 0,
                                   .min = values->min,
                                   .max = values->max};
    if (collector->settings.exponential) {
        const struct exponential *exponential = &values->exponential;
        ret->positive = shown->exponential;
        ret->n_positive = exponential_counts(exponential, shown->exponential);
        ret->scale = exponential->any ? exponential->scale : EXPONENTIAL_SCALE_MAX;
        ret->offset = exponential->any ? exponential->low : 0;
        ret->zero_count = exponential->zeros;
    } else {
        memcpy(shown->buckets, values->buckets, sizeof(shown->buckets));
        ret->bounds = histogram_bounds;
        ret->n_bounds = HISTOGRAM_BOUNDS;
        ret->counts = shown->buckets;
    }
}

static struct metric_point *add_point(struct collector *collector, struct metric_data *metric, uint64_t now_ns)
{
    struct metric_point *point = &collector->points[collector->n_points++];
    *point = (struct metric_point){.time_ns = now_ns};
    if (metric->kind != METRIC_GAUGE)
        point->start_ns = metric->temporality == METRIC_DELTA ? collector->previous_ns : collector->meter->start_ns;
    metric->n_points++;
    return point;
}

static void take_point_back(struct collector *collector, struct metric_data *metric)
{
    collector->n_points--;
    metric->n_points--;
}

/* Turns the value into the difference to the one before, when that is wanted. */
static union instrument_value difference(union instrument_value *previous, union instrument_value value, bool fraction,
                                         bool delta)
{
    union instrument_value before = *previous;
    if (!delta)
        return value;
    *previous = value;
    if (fraction)
        value.fraction -= before.fraction;
    else
        value.whole -= before.whole;
    return value;
}

static bool is_used(const struct collector *collector, const struct instrument *instrument)
{
    bool used = instrument->used_from == instrument->used_end;
    for (unsigned cell = instrument->used_from; cell < instrument->used_end && !used; cell++)
        used = metric_get(collector->meter->settings.metrics, (enum metric)cell);
    return used;
}

static void show_fixed(struct collector *collector, const struct instrument *instrument,
                       const struct points_context *context, size_t place, struct metric_data *metric)
{
    bool delta = metric->kind == METRIC_SUM && metric->temporality == METRIC_DELTA;
    bool only_changes = delta && instrument->kind == INSTRUMENT_COUNTER;
    size_t n_points = is_used(collector, instrument) ? instrument->n_points : 0;
    for (size_t i = 0; i < n_points; i++) {
        const struct instrument_point *from = &instrument->points[i];
        union instrument_value value = {.whole = 0};
        if (instrument->source == SOURCE_CELLS)
            value.whole = metric_get(collector->meter->settings.metrics, (enum metric)from->from);
        else
            value = context->observed[from->from];
        value = difference(&collector->previous[place + i], value, instrument->fraction, delta);
        if (!value.whole && only_changes)
            continue;
        struct metric_point *point = add_point(collector, metric, context->now_ns);
        point->attributes = from->attributes;
        while (point->n_attributes < INSTRUMENT_ATTRIBUTES && from->attributes[point->n_attributes].key)
            point->n_attributes++;
        point->is_double = instrument->fraction;
        if (instrument->fraction)
            point->number = value.fraction;
        else
            point->integer = (int64_t)value.whole;
    }
}

static size_t request_attributes(const struct request_stream *stream, struct metric_attribute *ret)
{
    size_t n = 0;
    if (!stream->method) { /* as the specification has it for what is over a limit */
        ret[n++] = (struct metric_attribute){.key = "otel.metric.overflow", .text = "true"};
        return n;
    }
    ret[n++] = (struct metric_attribute){.key = "http.request.method", .text = stream->method};
    ret[n++] = (struct metric_attribute){.key = "http.route", .text = stream->route};
    if (stream->status)
        ret[n++] = (struct metric_attribute){.key = "http.response.status_code", .integer = stream->status};
    return n;
}

static void show_requests(struct collector *collector, size_t n_streams, struct metric_data *metric, uint64_t now_ns)
{
    for (size_t i = 0; i < n_streams; i++) {
        const struct request_stream *stream = &collector->meter->settings.metrics->api_requests.list[i];
        if (!collector->histograms[1 + i].count) /* nothing in this interval */
            continue;
        struct metric_point *point = add_point(collector, metric, now_ns);
        point->attributes = collector->request_attributes[i];
        point->n_attributes = request_attributes(stream, collector->request_attributes[i]);
        if (metric->kind == METRIC_SUM)
            point->integer = (int64_t)collector->histograms[1 + i].count;
        else
            show_histogram(collector, 1 + i, &point->histogram);
    }
}

static void show_dns_duration(struct collector *collector, struct metric_data *metric, uint64_t now_ns)
{
    struct metric_point *point = add_point(collector, metric, now_ns);
    show_histogram(collector, 0, &point->histogram);
    if (!point->histogram.count && metric->temporality == METRIC_DELTA)
        take_point_back(collector, metric);
}

void collect_points(struct collector *collector, const struct instrument *instrument,
                    const struct points_context *context, size_t place, struct metric_data *metric)
{
    switch (instrument->source) {
    case SOURCE_CELLS:
    case SOURCE_OBSERVED:
        show_fixed(collector, instrument, context, place, metric);
        return;
    case SOURCE_DNS_DURATION:
        show_dns_duration(collector, metric, context->now_ns);
        return;
    case SOURCE_REQUESTS:
    case SOURCE_REQUEST_DURATIONS:
        show_requests(collector, context->n_streams, metric, context->now_ns);
        return;
    }
}
