/* The OpenTelemetry environment: what each variable does, and that a wrong value is one warning and no more. */
#include "telemetry/otel_env.h"

#include "tests/unit/runner.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OTLP "OTEL_EXPORTER_OTLP_"
#define GRPC_METRICS "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"
#define GRPC_LOGS "/opentelemetry.proto.collector.logs.v1.LogsService/Export"

static struct otel_env *env;
static const char *hostinfo = "/nonexistent";

static void release(void)
{
    otel_env_free(env);
    env = NULL;
}

/* Reads an environment of the given names and values, up to a NULL. */
static void read_env(const char *name, ...) __attribute__((sentinel));

static void read_env(const char *name, ...)
{
    va_list rest;
    release();
    clearenv();
    va_start(rest, name);
    for (; name; name = va_arg(rest, const char *))
        setenv(name, va_arg(rest, const char *), 1);
    va_end(rest);
    ck_assert_int_eq(otel_env_read(hostinfo, &env), 0);
}

static void check_text(const char *text, const char *expected)
{
    ck_assert_msg((!text && !expected) || (text && expected && !strcmp(text, expected)), "%s instead of %s", text,
                  expected);
}

static void check_one_warning(const char *part)
{
    ck_assert_uint_eq(env->n_warnings, 1);
    ck_assert_msg(strstr(env->warnings[0], part) != NULL, "%s", env->warnings[0]);
}

START_TEST(nothing_is_off)
{
    read_env(NULL, NULL);
    ck_assert(!env->metrics.url && !env->logs.url && !env->metrics_console && !env->logs_console);
    ck_assert_uint_eq(env->metrics.timeout_ms, 10000);
    ck_assert_uint_eq(env->metrics_interval_ms, 60000);
    ck_assert_uint_eq(env->metrics_timeout_ms, 30000);
    ck_assert_uint_eq(env->logs_delay_ms, 1000);
    ck_assert_uint_eq(env->logs_timeout_ms, 30000);
    ck_assert_uint_eq(env->logs_queue, 2048);
    ck_assert_uint_eq(env->logs_batch, 512);
    ck_assert(env->temporality == OTEL_CUMULATIVE && !env->exponential_histograms);
    ck_assert_uint_eq(env->n_warnings, 0);
    read_env(OTLP "ENDPOINT", "  ", OTLP "METRICS_ENDPOINT", "", OTLP "TIMEOUT", "", "OTEL_METRICS_EXPORTER", " ",
             NULL);
    ck_assert(!env->metrics.url && env->metrics.timeout_ms == 10000 && !env->n_warnings);
}
END_TEST

/* general endpoint, what becomes of it for metrics over HTTP (NULL: refused) */
static const char *const endpoints[][2] = {
    {"http://c.test:4318", "http://c.test:4318/v1/metrics"},
    {"http://c.test:4318/", "http://c.test:4318/v1/metrics"},
    {"https://c.test", "https://c.test/v1/metrics"},
    {"HTTPS://c.test/otlp", "https://c.test/otlp/v1/metrics"},
    {"http://c.test/otlp/", "http://c.test/otlp/v1/metrics"},
    {"http://c.test/o?tenant=1", "http://c.test/o/v1/metrics?tenant=1"},
    {"http://[2001:db8::1]:4318", "http://[2001:db8::1]:4318/v1/metrics"},
    {"http://192.0.2.1", "http://192.0.2.1/v1/metrics"},
    {"c.test:4318", NULL},
    {"ftp://c.test", NULL},
    {"http://", NULL},
    {"http://:4318", NULL},
    {"http://c.test:0", NULL},
    {"http://c.test:65536", NULL},
    {"http://c.test:x", NULL},
    {"http://c.test:", NULL},
    {"http://2001:db8::1:4318", NULL},
    {"http://[2001:db8::1", NULL},
    {"http://[192.0.2.1]", NULL},
    {"http://user:secret@c.test", NULL},
    {"http://c.test/a b", NULL},
    {"http://c.test/#x", NULL},
    {"http://c test", NULL},
};

START_TEST(endpoints_of_both_signals)
{
    const char *endpoint = endpoints[_i][0], *expected = endpoints[_i][1];
    read_env(OTLP "ENDPOINT", endpoint, NULL);
    check_text(env->metrics.url, expected);
    ck_assert(!env->logs.url == !expected);
    ck_assert_uint_eq(env->n_warnings, expected ? 0 : 1);
    if (!expected) {
        check_one_warning(OTLP "ENDPOINT: expected");
        ck_assert_ptr_null(strstr(env->warnings[0], "secret"));
    }
}
END_TEST

START_TEST(a_signals_own_endpoint_is_used_as_it_is)
{
    read_env(OTLP "ENDPOINT", "http://c.test:4318", OTLP "LOGS_ENDPOINT", "http://l.test:1/some/where", NULL);
    check_text(env->metrics.url, "http://c.test:4318/v1/metrics");
    check_text(env->logs.url, "http://l.test:1/some/where");
    read_env(OTLP "LOGS_ENDPOINT", "https://l.test", NULL);
    check_text(env->logs.url, "https://l.test/");
    check_text(env->metrics.url, NULL);
    /* One that cannot be used: the data goes nowhere else. */
    read_env(OTLP "ENDPOINT", "http://c.test", OTLP "LOGS_ENDPOINT", "l.test", "HOST_IP", "192.0.2.1", NULL);
    check_text(env->logs.url, NULL);
    check_text(env->metrics.url, "http://c.test/v1/metrics");
    check_one_warning(OTLP "LOGS_ENDPOINT");
}
END_TEST

START_TEST(grpc_endpoints)
{
    read_env(OTLP "PROTOCOL", "gRPC", OTLP "ENDPOINT", "http://c.test:4317", NULL);
    check_text(env->metrics.url, "http://c.test:4317" GRPC_METRICS);
    check_text(env->logs.url, "http://c.test:4317" GRPC_LOGS);
    read_env(OTLP "PROTOCOL", "grpc", OTLP "LOGS_ENDPOINT", "https://c.test:4317/", NULL);
    check_text(env->logs.url, "https://c.test:4317" GRPC_LOGS);
    read_env(OTLP "PROTOCOL", "grpc", OTLP "ENDPOINT", "c.test:4317", NULL);
    check_text(env->metrics.url, "https://c.test:4317" GRPC_METRICS);
    read_env(OTLP "PROTOCOL", "grpc", OTLP "ENDPOINT", "c.test:4317", OTLP "INSECURE", "TRUE", NULL);
    check_text(env->metrics.url, "http://c.test:4317" GRPC_METRICS);
    read_env(OTLP "PROTOCOL", "grpc", OTLP "ENDPOINT", "[::1]:4317", OTLP "INSECURE", "false", OTLP "LOGS_INSECURE",
             "true", NULL);
    check_text(env->metrics.url, "https://[::1]:4317" GRPC_METRICS);
    check_text(env->logs.url, "http://[::1]:4317" GRPC_LOGS);
    read_env(OTLP "PROTOCOL", "grpc", OTLP "ENDPOINT", "c.test:4317", OTLP "INSECURE", "1", NULL);
    check_text(env->metrics.url, "https://c.test:4317" GRPC_METRICS);
    check_one_warning(OTLP "INSECURE=\"1\"");
    /* What is not true is false, and never less secure than it says. */
    read_env(OTLP "PROTOCOL", "grpc", OTLP "ENDPOINT", "c.test:4317", OTLP "INSECURE", "true", OTLP "LOGS_INSECURE",
             "0", NULL);
    check_text(env->metrics.url, "http://c.test:4317" GRPC_METRICS);
    check_text(env->logs.url, "https://c.test:4317" GRPC_LOGS);
    check_one_warning(OTLP "LOGS_INSECURE=\"0\"");
}
END_TEST

START_TEST(the_host_gets_metrics_when_nothing_else_is_set)
{
    static const char line[] = "192.0.2.7\n";
    char path[] = "/tmp/otel-env-XXXXXX";
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(dprintf(fd, "name\n\n %s2001:db8::9\n", line), 29);
    close(fd);
    read_env("HOST_IP", "192.0.2.1", NULL);
    check_text(env->metrics.url, "http://192.0.2.1:4318/v1/metrics");
    check_text(env->logs.url, NULL);
    read_env("HOST_IP", "2001:db8::1", NULL);
    check_text(env->metrics.url, "http://[2001:db8::1]:4318/v1/metrics");
    read_env("HOST_IP", "192.0.2.1", OTLP "PROTOCOL", "grpc", NULL);
    check_text(env->metrics.url, "http://192.0.2.1:4317" GRPC_METRICS);
    read_env("HOST_IP", "192.0.2.1", OTLP "METRICS_ENDPOINT", "http://c.test/m", NULL);
    check_text(env->metrics.url, "http://c.test/m");
    hostinfo = path;
    read_env(NULL, NULL);
    check_text(env->metrics.url, "http://192.0.2.7:4318/v1/metrics");
    read_env("HOST_IP", "host.test", NULL);
    check_text(env->metrics.url, "http://192.0.2.7:4318/v1/metrics");
    check_one_warning("HOST_IP=\"host.test\"");
    read_env("HOST_IP", "192.0.2.1", "OTEL_METRICS_EXPORTER", "none", NULL);
    check_text(env->metrics.url, NULL);
    hostinfo = "/nonexistent";
    unlink(path);
}
END_TEST

START_TEST(exporters)
{
    static const struct {
        const char *metrics, *logs;
        bool otlp_metrics, console_metrics, otlp_logs, console_logs;
        size_t warnings;
    } rows[] = {
        {"otlp", "OTLP", true, false, true, false, 0},
        {"none", "none", false, false, false, false, 0},
        {"console", "console", false, true, false, true, 0},
        {"Console, otlp", "otlp,console", true, true, true, true, 0},
        {"prometheus", "otlp", false, false, true, false, 0},
        {"prometheus,otlp", "otlp", true, false, true, false, 0},
        {"otlp", "prometheus", true, false, true, false, 1}, /* the only word is unknown: as if unset */
        {"jaeger", "console,zipkin", true, false, false, true, 2},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        read_env(OTLP "ENDPOINT", "http://c.test", "OTEL_METRICS_EXPORTER", rows[i].metrics, "OTEL_LOGS_EXPORTER",
                 rows[i].logs, NULL);
        ck_assert_msg(!env->metrics.url == !rows[i].otlp_metrics && !env->logs.url == !rows[i].otlp_logs &&
                          env->metrics_console == rows[i].console_metrics &&
                          env->logs_console == rows[i].console_logs && env->n_warnings == rows[i].warnings,
                      "row %zu", i);
        read_env(OTLP "ENDPOINT", "http://c.test", "OTEL_METRICS_EXPORTER", rows[i].metrics, "OTEL_LOGS_EXPORTER",
                 rows[i].logs, "OTEL_SDK_DISABLED", "True", NULL);
        ck_assert(!env->metrics.url && !env->logs.url && !env->metrics_console && !env->logs_console);
    }
    read_env(OTLP "ENDPOINT", "http://c.test", "OTEL_SDK_DISABLED", "1", NULL);
    ck_assert(env->metrics.url && env->logs.url);
    check_one_warning("OTEL_SDK_DISABLED=\"1\"");
}
END_TEST

START_TEST(a_signals_own_value_wins)
{
    read_env(OTLP "ENDPOINT", "http://c.test", OTLP "PROTOCOL", "http/json", OTLP "LOGS_PROTOCOL", "HTTP/Protobuf",
             OTLP "TIMEOUT", "1", OTLP "METRICS_TIMEOUT", "0", OTLP "COMPRESSION", "gzip", OTLP "LOGS_COMPRESSION",
             "none", OTLP "HEADERS", "a=1", OTLP "LOGS_HEADERS", "b=2", OTLP "CERTIFICATE", "/ca",
             OTLP "LOGS_CERTIFICATE", "/ca2", NULL);
    ck_assert(env->metrics.protocol == OTLP_HTTP_JSON && env->logs.protocol == OTLP_HTTP_PROTOBUF);
    ck_assert(env->metrics.timeout_ms == 0 && env->logs.timeout_ms == 1);
    ck_assert(env->metrics.gzip && !env->logs.gzip);
    check_text(env->metrics.headers.list[0].key, "a");
    check_text(env->logs.headers.list[0].key, "b");
    ck_assert_uint_eq(env->logs.headers.n, 1);
    check_text(env->metrics.certificate, "/ca");
    check_text(env->logs.certificate, "/ca2");
    ck_assert_uint_eq(env->n_warnings, 0);
    /* One that cannot be used gives way to the general one. */
    read_env(OTLP "PROTOCOL", "grpc", OTLP "LOGS_PROTOCOL", "thrift", OTLP "TIMEOUT", "5", OTLP "LOGS_TIMEOUT", "-5",
             NULL);
    ck_assert(env->logs.protocol == OTLP_GRPC && env->logs.timeout_ms == 5);
    ck_assert_uint_eq(env->n_warnings, 2);
}
END_TEST

START_TEST(headers)
{
    read_env(OTLP "HEADERS", " api-key = a%20b%3Dc%2C , x=1=2,,empty=", NULL);
    ck_assert_uint_eq(env->logs.headers.n, 3);
    check_text(env->logs.headers.list[0].key, "api-key");
    check_text(env->logs.headers.list[0].value, "a b=c,");
    check_text(env->logs.headers.list[1].value, "1=2");
    check_text(env->logs.headers.list[2].value, "");
    ck_assert_uint_eq(env->n_warnings, 0);
    static const char *const bad[] = {"secret",      "=secret",
                                      "a b=secret",  "a=secret%0d%0ax:y",
                                      "a=secret%",   "a=s%zz",
                                      "a%00=secret", "content-length=secret",
                                      "Host=secret", "grpc-timeout=secret",
                                      "a=%ff",       "a=secret%00b"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char both[128];
        snprintf(both, sizeof(both), "%s,good=1", bad[i]);
        read_env(OTLP "HEADERS", both, NULL);
        ck_assert_msg(env->metrics.headers.n == 1, "%s", bad[i]);
        check_text(env->metrics.headers.list[0].key, "good");
        check_one_warning(OTLP "HEADERS: 1 of its headers");
        ck_assert_ptr_null(strstr(env->warnings[0], "secret"));
    }
}
END_TEST

START_TEST(resource_attributes_are_all_or_nothing)
{
    read_env("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=pr%C3%B6d%2C1, k=v", "OTEL_SERVICE_NAME", "mine",
             NULL);
    ck_assert_uint_eq(env->resource.n, 2);
    check_text(env->resource.list[0].value, "pr\xc3\xb6"
                                            "d,1");
    check_text(env->service_name, "mine");
    static const char *const bad[] = {"k=v,novalue", "k=v,=x", "k=v,a=%g0", "k=v,a=%"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        read_env("OTEL_RESOURCE_ATTRIBUTES", bad[i], NULL);
        ck_assert_uint_eq(env->resource.n, 0);
        check_one_warning("OTEL_RESOURCE_ATTRIBUTES");
    }
}
END_TEST

START_TEST(numbers_and_words)
{
    read_env("OTEL_METRIC_EXPORT_INTERVAL", "500", "OTEL_METRIC_EXPORT_TIMEOUT", "0", "OTEL_BLRP_SCHEDULE_DELAY", "5",
             "OTEL_BLRP_EXPORT_TIMEOUT", "6", "OTEL_BLRP_MAX_QUEUE_SIZE", "100", OTLP "METRICS_TEMPORALITY_PREFERENCE",
             "LowMemory", OTLP "METRICS_DEFAULT_HISTOGRAM_AGGREGATION", "BASE2_exponential_bucket_histogram", NULL);
    ck_assert(env->metrics_interval_ms == 500 && env->metrics_timeout_ms == 0 && env->logs_delay_ms == 5 &&
              env->logs_timeout_ms == 6);
    ck_assert(env->logs_queue == 100 && env->logs_batch == 100);
    ck_assert(env->temporality == OTEL_LOW_MEMORY && env->exponential_histograms && !env->n_warnings);
    static const char *const numbers[] = {"OTEL_METRIC_EXPORT_INTERVAL",
                                          "OTEL_METRIC_EXPORT_TIMEOUT",
                                          "OTEL_BLRP_SCHEDULE_DELAY",
                                          "OTEL_BLRP_EXPORT_TIMEOUT",
                                          "OTEL_BLRP_MAX_QUEUE_SIZE",
                                          "OTEL_BLRP_MAX_EXPORT_BATCH_SIZE",
                                          OTLP "TIMEOUT"};
    static const char *const wrong[] = {"-1", "1.5", "10s", "abc", "99999999999", "0x10"};
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        for (size_t k = 0; k < sizeof(wrong) / sizeof(wrong[0]); k++) {
            read_env(numbers[i], wrong[k], NULL);
            check_one_warning(numbers[i]);
            ck_assert(env->metrics_interval_ms == 60000 && env->metrics_timeout_ms == 30000 &&
                      env->logs_delay_ms == 1000 && env->logs_timeout_ms == 30000 && env->logs_queue == 2048 &&
                      env->logs_batch == 512 && env->metrics.timeout_ms == 10000);
        }
    }
    static const char *const words[] = {OTLP "PROTOCOL", OTLP "COMPRESSION", OTLP "METRICS_TEMPORALITY_PREFERENCE",
                                        OTLP "METRICS_DEFAULT_HISTOGRAM_AGGREGATION"};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        read_env(words[i], "other", NULL);
        check_one_warning(words[i]);
        ck_assert(env->metrics.protocol == OTLP_HTTP_PROTOBUF && !env->metrics.gzip &&
                  env->temporality == OTEL_CUMULATIVE && !env->exponential_histograms);
    }
}
END_TEST

START_TEST(client_certificates_come_in_pairs)
{
    read_env(OTLP "CLIENT_KEY", "/k", OTLP "METRICS_CLIENT_CERTIFICATE", "/c", NULL);
    check_text(env->metrics.client_key, "/k");
    check_text(env->metrics.client_certificate, "/c");
    check_text(env->logs.client_key, NULL);
    check_one_warning("LOGS");
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("otel_env");
    TCase *tc = tcase_create("otel_env");
    tcase_add_checked_fixture(tc, NULL, release);
    tcase_add_test(tc, nothing_is_off);
    tcase_add_loop_test(tc, endpoints_of_both_signals, 0, sizeof(endpoints) / sizeof(endpoints[0]));
    tcase_add_test(tc, a_signals_own_endpoint_is_used_as_it_is);
    tcase_add_test(tc, grpc_endpoints);
    tcase_add_test(tc, the_host_gets_metrics_when_nothing_else_is_set);
    tcase_add_test(tc, exporters);
    tcase_add_test(tc, a_signals_own_value_wins);
    tcase_add_test(tc, headers);
    tcase_add_test(tc, resource_attributes_are_all_or_nothing);
    tcase_add_test(tc, numbers_and_words);
    tcase_add_test(tc, client_certificates_come_in_pairs);
    suite_add_tcase(suite, tc);
    return suite;
}
