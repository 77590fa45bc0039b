#include "telemetry/host.h"
#include "telemetry/labels.h"
#include "telemetry/prometheus.h"
#include "tests/unit/runner.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SCOPE "otel_scope_name=\"opensandbox/egress\",otel_scope_version=\"1.2.3\""
#define START 1000000000000000000ull

static struct metrics *metrics;
static struct meter *meter;
static struct resource *resource;
static struct prometheus *prometheus;
static struct buf text;

static void start(const struct attribute *attributes, size_t n)
{
    static const struct attribute given[] = {{"team.a", "one"}, {"team_a", "t\"wo\n"}, {"empty", ""}};
    metrics = calloc(1, sizeof(*metrics));
    ck_assert_ptr_nonnull(metrics);
    struct meter_settings metering = {.metrics = metrics, .proc = HOST_PROC};
    struct resource_settings describing = {.version = "1.2.3", .given = given, .n_given = 3};
    ck_assert_int_eq(meter_new(&metering, START, &meter), 0);
    ck_assert_int_eq(resource_new(&describing, &resource), 0);
    struct prometheus_settings settings = {
        .version = "1.2.3", .resource = resource, .attributes = attributes, .n_attributes = n};
    ck_assert_int_eq(prometheus_new(meter, &settings, &prometheus), 0);
}

static void stop(void)
{
    buf_done(&text);
    prometheus_free(prometheus);
    resource_free(resource);
    meter_free(meter);
    free(metrics);
}

static void scrape(enum prometheus_format format)
{
    buf_clear(&text);
    prometheus_scrape(prometheus, START + 1000, format, &text);
    ck_assert(!text.failed);
}

/* The text has these whole lines, one after the other. */
static void expect(const char *lines)
{
    const char *at = strstr(text.data, lines);
    ck_assert_msg(at && (at == text.data || at[-1] == '\n'), "no \"%s\" in:\n%s", lines, text.data);
}

START_TEST(counters_gauges_and_units)
{
    start(NULL, 0);
    metric_add(metrics, METRIC_POLICY_DENIED, 3);
    metric_add(metrics, metric_dns_queries(DNS_ALLOWED, DNS_TCP), 2);
    metric_set(metrics, METRIC_NFT_RULES, 12);
    metric_set(metrics, METRIC_DNS_IN_FLIGHT, 4);
    scrape(PROMETHEUS_TEXT);
    expect("# HELP egress_policy_denied_total DNS queries denied by policy\n"
           "# TYPE egress_policy_denied_total counter\n"
           "egress_policy_denied_total{" SCOPE "} 3\n");
    expect("egress_dns_queries_total{result=\"allowed\",proto=\"tcp\"," SCOPE "} 2\n");
    expect("# TYPE egress_nftables_rules_count gauge\negress_nftables_rules_count{" SCOPE "} 12\n");
    expect("# TYPE egress_dns_inflight gauge\negress_dns_inflight{" SCOPE "} 4\n");
    expect("# TYPE egress_process_cpu_time_seconds_total counter\n");
    expect("# TYPE egress_system_memory_usage_bytes gauge\n");
    expect("# TYPE egress_system_cpu_utilization_ratio gauge\negress_system_cpu_utilization_ratio{" SCOPE "} 0\n");
    expect("# TYPE egress_enforcement_active gauge\n");
    ck_assert(!strstr(text.data, "# UNIT") && !strstr(text.data, "# EOF"));
    stop();
}
END_TEST

START_TEST(openmetrics_names_families_and_ends)
{
    start(NULL, 0);
    metric_add(metrics, METRIC_POLICY_DENIED, 3);
    scrape(PROMETHEUS_OPENMETRICS);
    expect("# TYPE egress_policy_denied counter\negress_policy_denied_total{" SCOPE "} 3\n");
    expect("# TYPE egress_process_cpu_time_seconds counter\n# UNIT egress_process_cpu_time_seconds seconds\n");
    expect("# TYPE egress_system_memory_usage_bytes gauge\n# UNIT egress_system_memory_usage_bytes bytes\n");
    expect("# TYPE target info\ntarget_info{");
    ck_assert_str_eq(text.data + text.len - 6, "# EOF\n");
    stop();
}
END_TEST

START_TEST(histograms_are_cumulative)
{
    start(NULL, 0);
    static const double values[] = {0.005, 0.006, 0.5, 1, 100};
    for (size_t i = 0; i < 5; i++)
        request_streams_record(&metrics->api_requests, "GET", "/policy", 200, values[i]);
    for (int format = PROMETHEUS_TEXT; format <= PROMETHEUS_OPENMETRICS; format++) {
#define LABELS "http_request_method=\"GET\",http_route=\"/policy\",http_response_status_code=\"200\"," SCOPE
#define BUCKET(le, n) "egress_api_request_duration_seconds_bucket{" LABELS ",le=\"" le "\"} " n "\n"
        scrape(format);
        expect("# TYPE egress_api_request_duration_seconds histogram\n");
        expect(BUCKET("0.005", "1") BUCKET("0.01", "2") BUCKET("0.025", "2"));
        expect(BUCKET("0.5", "3") BUCKET("0.75", "3") BUCKET("1.0", "4") BUCKET("2.5", "4") BUCKET("5.0", "4")
                   BUCKET("7.5", "4") BUCKET("10.0", "4")
                       BUCKET("+Inf", "5") "egress_api_request_duration_seconds_count{" LABELS "} 5\n"
                                           "egress_api_request_duration_seconds_sum{" LABELS "} 101.511\n");
    }
    stop();
}
END_TEST

START_TEST(attributes_become_labels)
{
    static const struct attribute attributes[] = {
        {"sandbox_id", "a\\b\"c\nd\xC3\xA9\xFF"}, /* the last byte is no UTF-8 */
        {"b.x", "2"},
        {"b-x", "1"},
        {"9lives", "nine"},
        {"http.route", "mine"},
        {"le", "mine, too"},
        {"\xC3\xA9t\xC3\xA9", ""},
        {"twice", "no"},
        {"twice", "yes"},
    };
    start(attributes, sizeof(attributes) / sizeof(attributes[0]));
    scrape(PROMETHEUS_TEXT);
    expect("egress_policy_denied_total{_9lives=\"nine\",_t_=\"\",b_x=\"1;2\",exported_http_route=\"mine\","
           "exported_le=\"mine, too\",sandbox_id=\"a\\\\b\\\"c\\nd\xC3\xA9\xEF\xBF\xBD\",twice=\"yes\"," SCOPE "} 0\n");
    stop();
}
END_TEST

START_TEST(the_resource_is_told_once)
{
    char pid[64];
    start(NULL, 0);
    scrape(PROMETHEUS_TEXT);
    expect("# TYPE target_info gauge\ntarget_info{empty=\"\",host_arch=\"");
    ck_assert_ptr_nonnull(strstr(text.data, "service_name=\"opensandbox-egress-1.2.3\""));
    ck_assert_ptr_nonnull(strstr(text.data, "team_a=\"one;t\\\"wo\\n\""));
    snprintf(pid, sizeof(pid), "process_pid=\"%d\"", getpid());
    ck_assert_ptr_nonnull(strstr(text.data, pid));
    const char *first = strstr(text.data, "\ntarget_info{");
    ck_assert(first && !strstr(first + 1, "\ntarget_info{"));
    stop();
}
END_TEST

START_TEST(long_values_are_kept)
{
    static char value[10241];
    memset(value, 'x', sizeof(value) - 1);
    struct attribute attribute = {"long", value};
    start(&attribute, 1);
    scrape(PROMETHEUS_OPENMETRICS);
    const char *at = strstr(text.data, "long=\"x");
    ck_assert(at && !strncmp(at + 6, value, 10240) && at[6 + 10240] == '"');
    stop();
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("prometheus");
    TCase *tcase = tcase_create("prometheus");
    tcase_add_test(tcase, counters_gauges_and_units);
    tcase_add_test(tcase, openmetrics_names_families_and_ends);
    tcase_add_test(tcase, histograms_are_cumulative);
    tcase_add_test(tcase, attributes_become_labels);
    tcase_add_test(tcase, the_resource_is_told_once);
    tcase_add_test(tcase, long_values_are_kept);
    suite_add_tcase(suite, tcase);
    return suite;
}
