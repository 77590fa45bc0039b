#include "telemetry/collect.h"
#include "telemetry/host.h"
#include "telemetry/instruments.h"
#include "tests/unit/random.h"
#include "tests/unit/runner.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define START 1000000000000000000ull
#define S 1000000000ull

static struct metrics *metrics;
static struct log *logs[1];
static struct meter *meter;
static struct collector *cumulative, *delta, *low_memory, *exponential;

static struct collector *new_collector(enum temporality_preference preference, bool exponential_too)
{
    struct collector *collector;
    struct collector_settings settings = {.preference = preference, .exponential = exponential_too};
    ck_assert_int_eq(collector_new(meter, &settings, &collector), 0);
    return collector;
}

static void setup(void)
{
    metrics = calloc(1, sizeof(*metrics));
    ck_assert_ptr_nonnull(metrics);
    metrics->dns_query_duration.exponential = metrics->api_requests.exponential = true;
    ck_assert_int_eq(log_new(4096, LOG_INFO, &logs[0]), 0);
    struct meter_settings settings = {.metrics = metrics, .logs = logs, .n_logs = 1, .proc = HOST_PROC};
    ck_assert_int_eq(meter_new(&settings, START, &meter), 0);
    cumulative = new_collector(PREFER_CUMULATIVE, false);
    delta = new_collector(PREFER_DELTA, false);
    low_memory = new_collector(PREFER_LOW_MEMORY, false);
    exponential = new_collector(PREFER_DELTA, true);
}

static void teardown(void)
{
    collector_free(cumulative);
    collector_free(exponential);
    collector_free(delta);
    collector_free(low_memory);
    meter_free(meter);
    log_free(logs[0]);
    free(metrics);
}

static const struct metric_data *find(const struct metrics_data *data, const char *name)
{
    for (size_t i = 0; i < data->n_metrics; i++)
        if (!strcmp(data->metrics[i].name, name))
            return &data->metrics[i];
    return NULL;
}

static bool has_attribute(const struct metric_point *point, const char *key, const char *text)
{
    for (size_t i = 0; i < point->n_attributes; i++)
        if (!strcmp(point->attributes[i].key, key) && point->attributes[i].text &&
            !strcmp(point->attributes[i].text, text))
            return true;
    return false;
}

/* The point whose attribute has this value; any when there is no key. */
static const struct metric_point *point(const struct metrics_data *data, const char *name, const char *key,
                                        const char *text)
{
    const struct metric_data *metric = find(data, name);
    for (size_t i = 0; metric && i < metric->n_points; i++)
        if (!key || has_attribute(&metric->points[i], key, text))
            return &metric->points[i];
    return NULL;
}

static int64_t sum_of(const struct metrics_data *data, const char *name)
{
    const struct metric_data *metric = find(data, name);
    int64_t sum = 0;
    for (size_t i = 0; metric && i < metric->n_points; i++)
        sum += metric->points[i].integer;
    return sum;
}

START_TEST(every_instrument_is_there_once_and_described)
{
    const struct metrics_data *data = collector_collect(cumulative, START + S);
    for (size_t i = 0; i < n_instruments; i++) {
        const struct instrument *instrument = &instruments[i];
        for (size_t k = 0; k < i; k++)
            ck_assert_str_ne(instrument->name, instruments[k].name);
        ck_assert(*instrument->description && instrument->unit);
        bool unused = instrument->used_end || instrument->source == SOURCE_REQUESTS ||
                      instrument->source == SOURCE_REQUEST_DURATIONS;
        ck_assert_msg(!find(data, instrument->name) == unused, "%s", instrument->name);
    }
    for (size_t i = 0; i < data->n_metrics; i++)
        for (size_t k = 0; k < data->metrics[i].n_points; k++)
            ck_assert(data->metrics[i].points[k].time_ns == START + S);
}
END_TEST

START_TEST(cells_are_shown_with_their_attributes)
{
    metric_add(metrics, metric_dns_queries(DNS_DENIED, DNS_TCP), 3);
    metric_set(metrics, METRIC_ADDRESSES_V6, 7);
    metric_add(metrics, metric_exported_logs(EXPORT_TIMEOUT), 2);
    const struct metrics_data *data = collector_collect(cumulative, START + S);
    const struct metric_data *queries = find(data, "egress.dns.queries");
    ck_assert_uint_eq(queries->n_points, DNS_RESULTS * DNS_TRANSPORTS);
    for (size_t i = 0; i < queries->n_points; i++) {
        const struct metric_point *p = &queries->points[i];
        ck_assert_uint_eq(p->n_attributes, 2);
        bool counted = has_attribute(p, "result", "denied") && has_attribute(p, "proto", "tcp");
        ck_assert_int_eq(p->integer, counted ? 3 : 0);
    }
    ck_assert_int_eq(point(data, "egress.dynamic.addresses", "family", "ipv6")->integer, 7);
    ck_assert_int_eq(point(data, "egress.dynamic.addresses", "family", "ipv4")->integer, 0);
    const struct metric_data *exported = find(data, "otel.sdk.exporter.log.exported");
    ck_assert_uint_eq(exported->n_points, EXPORT_RESULTS);
    for (size_t i = 0; i < exported->n_points; i++)
        ck_assert_int_eq(exported->points[i].integer,
                         has_attribute(&exported->points[i], "error.type", "timeout") ? 2 : 0);
}
END_TEST

/* What a monitoring system must see: that the queue is empty again, and losses grow from zero. */
START_TEST(self_metrics_stay_once_they_are_there)
{
    ck_assert_ptr_null(find(collector_collect(cumulative, START + S), "otel.sdk.processor.log.queue.size"));
    metric_set(metrics, METRIC_LOGS_QUEUED, 5);
    const struct metrics_data *data = collector_collect(cumulative, START + 2 * S);
    ck_assert_int_eq(sum_of(data, "otel.sdk.processor.log.queue.size"), 5);
    ck_assert_int_eq(point(data, "otel.sdk.processor.log.processed", "error.type", "queue_full")->integer, 0);
    ck_assert_ptr_null(find(data, "otel.sdk.exporter.metric_data_point.exported"));
    metric_set(metrics, METRIC_LOGS_QUEUED, 0);
    metric_add(metrics, METRIC_LOGS_PROCESSED, 5);
    data = collector_collect(cumulative, START + 3 * S);
    ck_assert_uint_eq(find(data, "otel.sdk.processor.log.queue.size")->n_points, 1);
    ck_assert_int_eq(sum_of(data, "otel.sdk.processor.log.queue.size"), 0);
}
END_TEST

START_TEST(temporality_is_as_asked_for)
{
    static const struct {
        const char *name;
        enum metric_kind kind;
        bool monotonic;
        enum metric_temporality temporality[3]; /* cumulative, delta, low memory */
    } expected[] = {
        {"egress.policy.denied_total", METRIC_SUM, true, {METRIC_CUMULATIVE, METRIC_DELTA, METRIC_DELTA}},
        {"egress.api.request.count", METRIC_SUM, true, {METRIC_CUMULATIVE, METRIC_DELTA, METRIC_DELTA}},
        {"egress.dns.query.duration", METRIC_HISTOGRAM, false, {METRIC_CUMULATIVE, METRIC_DELTA, METRIC_DELTA}},
        {"egress.process.cpu.time", METRIC_SUM, true, {METRIC_CUMULATIVE, METRIC_DELTA, METRIC_CUMULATIVE}},
        {"egress.dns.inflight", METRIC_SUM, false, {METRIC_CUMULATIVE, METRIC_CUMULATIVE, METRIC_CUMULATIVE}},
        {"egress.dynamic.addresses", METRIC_GAUGE, false, {0, 0, 0}},
    };
    struct collector *collectors[3] = {cumulative, delta, low_memory};
    for (size_t c = 0; c < 3; c++) {
        for (uint64_t now = START + S; now <= START + 2 * S; now += S) {
            metric_add(metrics, METRIC_POLICY_DENIED, 1);
            histogram_record(&metrics->dns_query_duration, 0.1);
            request_streams_record(&metrics->api_requests, "GET", "/policy", 200, 0.1);
            const struct metrics_data *data = collector_collect(collectors[c], now);
            for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
                const struct metric_data *metric = find(data, expected[i].name);
                ck_assert_msg(metric != NULL, "%s", expected[i].name);
                ck_assert_int_eq(metric->kind, expected[i].kind);
                if (metric->kind == METRIC_GAUGE) {
                    ck_assert(metric->points[0].start_ns == 0);
                    continue;
                }
                ck_assert_int_eq(metric->monotonic, expected[i].monotonic);
                ck_assert_msg(metric->temporality == expected[i].temporality[c], "%s", metric->name);
                uint64_t start = metric->temporality == METRIC_DELTA ? now - S : START;
                ck_assert(metric->points[0].start_ns == start && metric->points[0].time_ns == now);
            }
        }
    }
}
END_TEST

/* A clock that was put back moves no start and no time. */
START_TEST(times_do_not_follow_a_clock_that_goes_back)
{
    const char *name = "egress.policy.denied_total";
    uint64_t times[] = {START + 10 * S, START - 3600 * S, START + 5 * S, START + 20 * S}, last = START;
    for (size_t i = 0; i < 4; i++) {
        metric_add(metrics, METRIC_POLICY_DENIED, 1);
        const struct metric_point *sum = point(collector_collect(cumulative, times[i]), name, NULL, NULL);
        const struct metric_point *difference = point(collector_collect(delta, times[i]), name, NULL, NULL);
        ck_assert(sum->start_ns == START && sum->time_ns > last);
        ck_assert(difference->start_ns == last && difference->time_ns == sum->time_ns);
        last = sum->time_ns;
    }
    ck_assert(last == START + 20 * S);
}
END_TEST

START_TEST(delta_leaves_out_where_nothing_happened)
{
    collector_collect(delta, START + S);
    metric_add(metrics, metric_dns_queries(DNS_ALLOWED, DNS_UDP), 1);
    const struct metrics_data *data = collector_collect(delta, START + 2 * S);
    ck_assert_uint_eq(find(data, "egress.dns.queries")->n_points, 1);
    ck_assert(!find(data, "egress.policy.denied_total") && !find(data, "egress.dns.query.duration"));
    ck_assert(find(data, "egress.process.cpu.time") && find(data, "egress.dns.inflight"));
}
END_TEST

START_TEST(one_reader_takes_nothing_from_another)
{
    for (int i = 0; i < 3; i++) {
        histogram_record(&metrics->dns_query_duration, 1);
        collector_collect(delta, START + S);
        collector_collect(exponential, START + S);
    }
    ck_assert_uint_eq(
        point(collector_collect(cumulative, START + S), "egress.dns.query.duration", NULL, NULL)->histogram.count, 3);
    ck_assert_uint_eq(
        point(collector_collect(low_memory, START + S), "egress.dns.query.duration", NULL, NULL)->histogram.count, 3);
}
END_TEST

START_TEST(min_and_max_are_those_of_the_interval)
{
    const char *name = "egress.dns.query.duration";
    double values[2][2] = {{0.001, 0.5}, {0.02, 0.03}};
    for (int i = 0; i < 2; i++) {
        histogram_record(&metrics->dns_query_duration, values[i][0]);
        histogram_record(&metrics->dns_query_duration, values[i][1]);
        const struct histogram_data *h = &point(collector_collect(delta, START + S), name, NULL, NULL)->histogram;
        ck_assert(h->has_range && h->min == values[i][0] && h->max == values[i][1] && h->count == 2);
        h = &point(collector_collect(cumulative, START + S), name, NULL, NULL)->histogram;
        ck_assert(h->has_range && h->min == 0.001 && h->max == 0.5 && h->count == 2u * (i + 1));
    }
}
END_TEST

static void add_up(uint64_t counts[HISTOGRAM_BOUNDS + 1], const struct histogram_data *h)
{
    uint64_t sum = 0;
    ck_assert_uint_eq(h->n_bounds, HISTOGRAM_BOUNDS);
    for (size_t i = 0; i <= h->n_bounds; i++) {
        counts[i] += h->counts[i];
        sum += h->counts[i];
    }
    ck_assert_uint_eq(sum, h->count);
}

/* What the delta readers got in all is what the cumulative one shows. */
START_TEST(delta_sums_are_the_cumulative_values)
{
    struct random random = random_new();
    uint64_t counts[HISTOGRAM_BOUNDS + 1] = {0}, exponential_count = 0, requests = 0;
    int64_t denied = 0, queries = 0;
    double cpu = 0, sum = 0;
    const struct metrics_data *data = NULL;
    for (int round = 1; round <= 100; round++) {
        for (unsigned n = random_below(&random, 50); n; n--) {
            double value = exp2(-(double)random_below(&random, 20)) * (1 + random_below(&random, 100));
            metric_add(metrics, METRIC_POLICY_DENIED, random_below(&random, 3));
            metric_add(metrics, metric_dns_queries(random_below(&random, DNS_RESULTS), random_below(&random, 2)), 1);
            histogram_record(&metrics->dns_query_duration, value);
            request_streams_record(&metrics->api_requests, "GET", "/policy", 200 + random_below(&random, 5), value);
        }
        data = collector_collect(delta, START + (unsigned)round * S);
        denied += sum_of(data, "egress.policy.denied_total");
        queries += sum_of(data, "egress.dns.queries");
        requests += (uint64_t)sum_of(data, "egress.api.request.count");
        cpu += point(data, "egress.process.cpu.time", "cpu.mode", "user")->number;
        const struct metric_point *p = point(data, "egress.dns.query.duration", NULL, NULL);
        if (p) {
            add_up(counts, &p->histogram);
            sum += p->histogram.sum;
        }
        p = point(collector_collect(exponential, START + (unsigned)round * S), "egress.dns.query.duration", NULL, NULL);
        exponential_count += p ? p->histogram.count : 0;
    }
    data = collector_collect(cumulative, START + 101 * S);
    ck_assert_int_eq(denied, sum_of(data, "egress.policy.denied_total"));
    ck_assert_int_eq(queries, sum_of(data, "egress.dns.queries"));
    ck_assert_int_eq((int64_t)requests, sum_of(data, "egress.api.request.count"));
    const struct histogram_data *whole = &point(data, "egress.dns.query.duration", NULL, NULL)->histogram;
    ck_assert_mem_eq(counts, whole->counts, sizeof(counts));
    ck_assert_uint_eq(exponential_count, whole->count);
    ck_assert_double_eq_tol(sum, whole->sum, 1e-6);
    ck_assert_double_le(cpu, point(data, "egress.process.cpu.time", "cpu.mode", "user")->number + 1e-9);
}
END_TEST

START_TEST(exponential_histograms_are_whole)
{
    struct collector *reader = new_collector(PREFER_CUMULATIVE, true);
    struct exponential model = {0};
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 50; i++) {
            double value = exp2(-i) * (1 + round);
            histogram_record(&metrics->dns_query_duration, value);
            exponential_record(&model, value);
        }
        histogram_record(&metrics->dns_query_duration, 0);
        collector_collect(delta, START + S);
    }
    const struct metric_data *metric = find(collector_collect(reader, START + S), "egress.dns.query.duration");
    const struct histogram_data *h = &metric->points[0].histogram;
    uint64_t counts[EXPONENTIAL_SIZE];
    ck_assert_int_eq(metric->kind, METRIC_EXPONENTIAL_HISTOGRAM);
    ck_assert_uint_eq(h->count, 255);
    ck_assert_uint_eq(h->zero_count, 5);
    ck_assert_int_eq(h->scale, model.scale);
    ck_assert_int_eq(h->offset, model.low);
    ck_assert_uint_eq(h->n_positive, exponential_counts(&model, counts));
    ck_assert_mem_eq(h->positive, counts, h->n_positive * sizeof(*counts));
    collector_free(reader);
}
END_TEST

START_TEST(requests_have_method_route_and_status)
{
    static const char get[] = "GET", policy[] = "/policy";
    request_streams_record(&metrics->api_requests, get, policy, 404, 0.5);
    request_streams_record(&metrics->api_requests, get, policy, 0, 0.5);
    for (unsigned status = 1000; status < 1000 + REQUEST_STREAMS; status++)
        request_streams_record(&metrics->api_requests, get, policy, status, 0.5);
    const struct metrics_data *data = collector_collect(cumulative, START + S);
    const struct metric_data *count = find(data, "egress.api.request.count");
    ck_assert_uint_eq(count->n_points, REQUEST_STREAMS);
    const struct metric_point *first = &count->points[0], *second = &count->points[1],
                              *rest = &count->points[REQUEST_STREAMS - 1];
    ck_assert(has_attribute(first, "http.request.method", get) && has_attribute(first, "http.route", policy));
    ck_assert_str_eq(first->attributes[2].key, "http.response.status_code");
    ck_assert(!first->attributes[2].text && first->attributes[2].integer == 404 && first->integer == 1);
    ck_assert_uint_eq(second->n_attributes, 2); /* no answer was sent */
    ck_assert(has_attribute(rest, "otel.metric.overflow", "true") && rest->n_attributes == 1);
    ck_assert_int_eq(rest->integer, 3);
    ck_assert_uint_eq(find(data, "egress.api.request.duration")->points[REQUEST_STREAMS - 1].histogram.count, 3);
}
END_TEST

START_TEST(lost_log_records_are_counted_wherever_they_are_lost)
{
    metric_add(metrics, METRIC_LOG_DROPPED, 5);
    while (!log_dropped(logs[0]))
        log_printf(logs[0], LOG_INFO, "x");
    ck_assert_int_eq(sum_of(collector_collect(cumulative, START + S), "egress.log.dropped"), 6);
}
END_TEST

/* --- threads --- */

#define RECORDS 200000

static void *record_much(void *arg)
{
    for (int i = 0; i < RECORDS; i++)
        histogram_record(&metrics->dns_query_duration, 1e-3);
    return NULL;
}

static void *collect_much(void *arg)
{
    for (int i = 0; i < 300; i++)
        collector_collect(arg, START + S);
    return NULL;
}

START_TEST(readers_in_threads_of_their_own_lose_nothing)
{
    pthread_t threads[3];
    ck_assert_int_eq(pthread_create(&threads[0], NULL, record_much, NULL), 0);
    ck_assert_int_eq(pthread_create(&threads[1], NULL, collect_much, delta), 0);
    ck_assert_int_eq(pthread_create(&threads[2], NULL, collect_much, cumulative), 0);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    const struct metrics_data *data = collector_collect(cumulative, START + S);
    ck_assert_uint_eq(point(data, "egress.dns.query.duration", NULL, NULL)->histogram.count, RECORDS);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("collect");
    TCase *tcase = tcase_create("collect");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, every_instrument_is_there_once_and_described);
    tcase_add_test(tcase, cells_are_shown_with_their_attributes);
    tcase_add_test(tcase, self_metrics_stay_once_they_are_there);
    tcase_add_test(tcase, temporality_is_as_asked_for);
    tcase_add_test(tcase, times_do_not_follow_a_clock_that_goes_back);
    tcase_add_test(tcase, delta_leaves_out_where_nothing_happened);
    tcase_add_test(tcase, one_reader_takes_nothing_from_another);
    tcase_add_test(tcase, min_and_max_are_those_of_the_interval);
    tcase_add_test(tcase, delta_sums_are_the_cumulative_values);
    tcase_add_test(tcase, exponential_histograms_are_whole);
    tcase_add_test(tcase, requests_have_method_route_and_status);
    tcase_add_test(tcase, lost_log_records_are_counted_wherever_they_are_lost);
    tcase_add_test(tcase, readers_in_threads_of_their_own_lose_nothing);
    suite_add_tcase(suite, tcase);
    return suite;
}
