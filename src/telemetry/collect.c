#include "telemetry/collect_state.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

int meter_new(const struct meter_settings *settings, uint64_t now_ns, struct meter **ret)
{
    struct meter *meter = calloc(1, sizeof(*meter));
    if (!meter)
        return -ENOMEM;
    meter->settings = *settings;
    meter->start_ns = now_ns;
    pthread_mutex_init(&meter->lock, NULL);
    *ret = meter;
    return 0;
}

void meter_free(struct meter *meter)
{
    if (!meter)
        return;
    pthread_mutex_destroy(&meter->lock);
    free(meter);
}

int collector_new(struct meter *meter, const struct collector_settings *settings, struct collector **ret)
{
    struct collector *collector = calloc(1, sizeof(*collector));
    if (!collector)
        return -ENOMEM;
    collector->meter = meter;
    collector->settings = *settings;
    collector->previous_ns = meter->start_ns;
    collector->data.metrics = collector->metrics;
    pthread_mutex_lock(&meter->lock);
    collector->next = meter->collectors;
    meter->collectors = collector;
    pthread_mutex_unlock(&meter->lock);
    *ret = collector;
    return 0;
}

void collector_free(struct collector *collector)
{
    if (!collector)
        return;
    pthread_mutex_lock(&collector->meter->lock);
    struct collector **at = &collector->meter->collectors;
    while (*at != collector)
        at = &(*at)->next;
    *at = collector->next;
    pthread_mutex_unlock(&collector->meter->lock);
    free(collector);
}

/* Takes what was recorded and gives it to every collector. */
static void share(struct meter *meter, struct histogram *histogram, size_t place)
{
    const struct histogram_values *taken = histogram_take(histogram);
    for (struct collector *each = meter->collectors; each; each = each->next)
        histogram_values_add(&each->histograms[place], taken);
}

static bool is_delta(const struct collector *collector, enum instrument_kind kind)
{
    switch (kind) {
    case INSTRUMENT_COUNTER:
    case INSTRUMENT_HISTOGRAM:
        return collector->settings.preference != PREFER_CUMULATIVE;
    case INSTRUMENT_OBSERVABLE_COUNTER:
        return collector->settings.preference == PREFER_DELTA;
    default:
        return false;
    }
}

static void observe(struct collector *collector, union instrument_value ret[OBSERVED_END])
{
    const struct meter_settings *settings = &collector->meter->settings;
    struct host_values host;
    host_read(&collector->host, settings->proc, &host);
    uint64_t dropped = metric_get(settings->metrics, METRIC_LOG_DROPPED);
    for (size_t i = 0; i < settings->n_logs; i++)
        dropped += log_dropped(settings->logs[i]);
    ret[OBSERVED_LOG_DROPPED].whole = dropped;
    ret[OBSERVED_SYSTEM_MEMORY].whole = host.memory_used;
    ret[OBSERVED_PROCESS_MEMORY].whole = host.resident;
    ret[OBSERVED_SYSTEM_CPU].fraction = host.cpu_utilization;
    ret[OBSERVED_CPU_USER].fraction = host.cpu_user_s;
    ret[OBSERVED_CPU_SYSTEM].fraction = host.cpu_system_s;
}

static struct metric_data describe(const struct collector *collector, const struct instrument *instrument)
{
    struct metric_data metric = {
        .name = instrument->name,
        .description = instrument->description,
        .unit = instrument->unit,
        .kind = METRIC_SUM,
        .monotonic = instrument->kind == INSTRUMENT_COUNTER || instrument->kind == INSTRUMENT_OBSERVABLE_COUNTER,
        .temporality = is_delta(collector, instrument->kind) ? METRIC_DELTA : METRIC_CUMULATIVE,
        .points = &collector->points[collector->n_points]};
    if (instrument->kind == INSTRUMENT_GAUGE)
        metric.kind = METRIC_GAUGE;
    else if (instrument->kind == INSTRUMENT_HISTOGRAM)
        metric.kind = collector->settings.exponential ? METRIC_EXPONENTIAL_HISTOGRAM : METRIC_HISTOGRAM;
    return metric;
}

static void show_all(struct collector *collector, const struct points_context *context)
{
    size_t place = 0;
    collector->n_points = collector->data.n_metrics = 0;
    for (size_t i = 0; i < n_instruments; i++) {
        struct metric_data *metric = &collector->metrics[collector->data.n_metrics];
        assert(place + instruments[i].n_points <= POINTS_MAX && i < INSTRUMENTS_MAX);
        *metric = describe(collector, &instruments[i]);
        collect_points(collector, &instruments[i], context, place, metric);
        place += instruments[i].n_points;
        if (metric->n_points)
            collector->data.n_metrics++;
    }
}

const struct metrics_data *collector_collect(struct collector *collector, uint64_t now_ns)
{
    struct meter *meter = collector->meter;
    struct metrics *metrics = meter->settings.metrics;
    union instrument_value observed[OBSERVED_END];
    observe(collector, observed);
    if (now_ns <= collector->previous_ns) /* the clock was put back */
        now_ns = collector->previous_ns + 1;
    struct points_context context = {
        .now_ns = now_ns, .observed = observed, .n_streams = request_streams_count(&metrics->api_requests)};

    pthread_mutex_lock(&meter->lock);
    share(meter, &metrics->dns_query_duration, 0);
    for (size_t i = 0; i < context.n_streams; i++)
        share(meter, &metrics->api_requests.list[i].duration, 1 + i);
    show_all(collector, &context);
    if (is_delta(collector, INSTRUMENT_HISTOGRAM))
        for (size_t i = 0; i < HISTOGRAMS; i++)
            histogram_values_clear(&collector->histograms[i]);
    pthread_mutex_unlock(&meter->lock);

    collector->previous_ns = now_ns;
    return &collector->data;
}
