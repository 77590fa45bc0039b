/* What becomes of collections and log records in OTLP, told by its JSON form, which the walk over the decoded message
 * writes. That the numbers of the fields are the protocol's is for decoders that are not ours: tests/e2e. */
#include "telemetry/otlp_body.h"
#include "telemetry/otlp_frame.h"
#include "telemetry/otlp_json.h"
#include "telemetry/otlp_logs.h"
#include "telemetry/otlp_metrics.h"
#include "telemetry/protobuf.h"

#include "telemetry/otlp.pb-c.h"
#include "tests/unit/random.h"
#include "tests/unit/runner.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <string.h>

static const struct metric_attribute resource[] = {{.key = "service.name", .text = "s"},
                                                   {.key = "process.pid", .integer = 7}};
static const struct attribute sandbox = {"sandbox_id", "s\"1"};

static struct {
    struct otlp_frame frame;
    struct otlp_logs logs;
    struct log *log;
    struct buf out, json;
    cJSON *parsed;
} f;

static void setup(void)
{
    memset(&f, 0, sizeof(f));
    ck_assert_int_eq(otlp_frame_init(&f.frame, resource, 2, "opensandbox/egress", "1.2"), 0);
    ck_assert_int_eq(otlp_logs_init(&f.logs, &sandbox, 1), 0);
    ck_assert_int_eq(log_new(1 << 18, LOG_DEBUG, &f.log), 0);
}

static void teardown(void)
{
    cJSON_Delete(f.parsed);
    buf_done(&f.out);
    buf_done(&f.json);
    log_free(f.log);
    otlp_logs_done(&f.logs);
    otlp_frame_done(&f.frame);
}

static void check_json(const ProtobufCMessageDescriptor *type, const char *expected)
{
    buf_clear(&f.json);
    ck_assert_int_eq(otlp_json(type, f.out.data, f.out.len, &f.json), 0);
    ck_assert_str_eq(f.json.data, expected);
}

#define FRAME_LOGS                                                                                                     \
    "{\"resourceLogs\":[{\"resource\":{\"attributes\":["                                                               \
    "{\"key\":\"service.name\",\"value\":{\"stringValue\":\"s\"}},"                                                    \
    "{\"key\":\"process.pid\",\"value\":{\"intValue\":\"7\"}}]},"                                                      \
    "\"scopeLogs\":[{\"scope\":{\"name\":\"opensandbox/egress\",\"version\":\"1.2\"},\"logRecords\":["
#define SANDBOX_ID "{\"key\":\"sandbox_id\",\"value\":{\"stringValue\":\"s\\\"1\"}}"

/* Takes the oldest record, as of a fixed time, into `out`. */
static void take_record(struct buf *out)
{
    struct log_record record;
    ck_assert(log_peek(f.log, &record));
    record.time_ns = 1795327200123456789;
    otlp_logs_record(&f.logs, record, 1795327200200000000, out);
    log_pop(f.log);
    ck_assert(!out->failed);
}

START_TEST(a_record_has_every_field_of_its_line)
{
    static const uint8_t name[] = "\3W\\W\7example\3com";
    static const char rules[] =
        "[{\"action\":\"allow\",\"target\":\"a.test\"},{\"n\":3,\"x\":0.5,\"b\":true,\"z\":null}]";
    struct ip_addr addrs[2];
    ck_assert_int_eq(ip_parse("192.0.2.7", &addrs[0]), 0);
    ck_assert_int_eq(ip_parse("2001:db8::1", &addrs[1]), 0);
    ck_assert(log_begin(f.log, LOG_INFO, LOG_OUTBOUND, "egress outbound"));
    log_name(f.log, "target.host", name, sizeof(name));
    log_ips(f.log, "target.ips", addrs, 2);
    log_int(f.log, "status", -5);
    log_double(f.log, "duration", 0.25);
    log_bool(f.log, "audit", true);
    log_bool(f.log, "not", false);
    log_str(f.log, "empty", "", 0);
    log_json(f.log, "rules", rules, strlen(rules));
    log_end(f.log);
    _cleanup_buf_ struct buf records = {0};
    take_record(&records);
    log_printf(f.log, LOG_ERROR, "plain");
    take_record(&records);
    otlp_frame_wrap(&f.frame, records.data, records.len, &f.out);
    check_json(&otlp__export_logs_service_request__descriptor, FRAME_LOGS
               "{\"timeUnixNano\":\"1795327200123456789\",\"severityNumber\":9,\"severityText\":\"INFO\","
               "\"body\":{\"stringValue\":\"egress outbound\"},\"attributes\":[" SANDBOX_ID ","
               "{\"key\":\"opensandbox.event\",\"value\":{\"stringValue\":\"egress.outbound\"}},"
               "{\"key\":\"target.host\",\"value\":{\"stringValue\":\"w\\\\092w.example.com\"}},"
               "{\"key\":\"target.ips\",\"value\":{\"arrayValue\":{\"values\":[{\"stringValue\":\"192.0.2.7\"},"
               "{\"stringValue\":\"2001:db8::1\"}]}}},"
               "{\"key\":\"status\",\"value\":{\"intValue\":\"-5\"}},"
               "{\"key\":\"duration\",\"value\":{\"doubleValue\":0.25}},"
               "{\"key\":\"audit\",\"value\":{\"boolValue\":true}},"
               "{\"key\":\"not\",\"value\":{\"boolValue\":false}},"
               "{\"key\":\"empty\",\"value\":{\"stringValue\":\"\"}},"
               "{\"key\":\"rules\",\"value\":{\"arrayValue\":{\"values\":["
               "{\"kvlistValue\":{\"values\":[{\"key\":\"action\",\"value\":{\"stringValue\":\"allow\"}},"
               "{\"key\":\"target\",\"value\":{\"stringValue\":\"a.test\"}}]}},"
               "{\"kvlistValue\":{\"values\":[{\"key\":\"n\",\"value\":{\"intValue\":\"3\"}},"
               "{\"key\":\"x\",\"value\":{\"doubleValue\":0.5}},{\"key\":\"b\",\"value\":{\"boolValue\":true}},"
               "{\"key\":\"z\",\"value\":{}}]}}]}}}],"
               "\"observedTimeUnixNano\":\"1795327200200000000\",\"eventName\":\"egress.outbound\"},"
               "{\"timeUnixNano\":\"1795327200123456789\",\"severityNumber\":17,\"severityText\":\"ERROR\","
               "\"body\":{\"stringValue\":\"plain\"},\"attributes\":[" SANDBOX_ID "],"
               "\"observedTimeUnixNano\":\"1795327200200000000\"}]}]}]}");
}
END_TEST

/* The text of the record's attribute of this number. */
static const char *attribute_text(Otlp__ScopeLogs *scope, size_t i)
{
    ck_assert_uint_eq(scope->n_log_records, 1);
    ck_assert_uint_gt(scope->log_records[0]->n_attributes, i);
    ck_assert_int_eq(scope->log_records[0]->attributes[i]->value->value_case, OTLP__ANY_VALUE__VALUE_STRING_VALUE);
    return scope->log_records[0]->attributes[i]->value->string_value;
}

/* Extra attributes come from the environment: one bad byte in a key must not make every request unreadable. */
START_TEST(keys_are_always_utf8)
{
    otlp_logs_done(&f.logs);
    ck_assert_int_eq(otlp_logs_init(&f.logs, &(struct attribute){"k\xff\xc3\xa9", "v"}, 1), 0);
    log_printf(f.log, LOG_ERROR, "plain");
    _cleanup_buf_ struct buf records = {0};
    take_record(&records);
    otlp_frame_wrap(&f.frame, records.data, records.len, &f.out);
    check_json(&otlp__export_logs_service_request__descriptor,
               FRAME_LOGS "{\"timeUnixNano\":\"1795327200123456789\",\"severityNumber\":17,\"severityText\":\"ERROR\","
                          "\"body\":{\"stringValue\":\"plain\"},"
                          "\"attributes\":[{\"key\":\"k\xEF\xBF\xBD\xc3\xa9\",\"value\":{\"stringValue\":\"v\"}}],"
                          "\"observedTimeUnixNano\":\"1795327200200000000\"}]}]}]}");
    ck_assert_ptr_nonnull(memmem(f.out.data, f.out.len, "k\xEF\xBF\xBD\xc3\xa9", 6));
}
END_TEST

START_TEST(texts_of_any_length_and_content)
{
    static const size_t lengths[] = {0, 1, 20, 100, 110, 120, 126, 127, 128, 129, 16000, 16370, 16384, 20000};
    static char text[20001], expected[60003];
    struct random random = random_new();
    for (int round = 0; round < 300; round++) {
        size_t len = lengths[(size_t)round % (sizeof(lengths) / sizeof(lengths[0]))], n = 0;
        bool hostile = round % 2;
        for (size_t i = 0; i < len; i++) {
            /* 0xff is never part of UTF-8, so what is to become of the text is easily said. */
            text[i] = hostile && !random_below(&random, 3) ? (char)0xff : (char)('a' + random_below(&random, 26));
            bool bad = text[i] == (char)0xff;
            memcpy(expected + n, bad ? "\xEF\xBF\xBD" : &text[i], bad ? 3 : 1);
            n += bad ? 3 : 1;
        }
        expected[n] = '\0';
        ck_assert(log_begin(f.log, LOG_WARN, LOG_PLAIN, "m"));
        log_str(f.log, "error", text, len);
        log_end(f.log);
        buf_clear(&f.out);
        take_record(&f.out);
        Otlp__ScopeLogs *scope = (Otlp__ScopeLogs *)protobuf_c_message_unpack(&otlp__scope_logs__descriptor, NULL,
                                                                              f.out.len, (uint8_t *)f.out.data);
        ck_assert_ptr_nonnull(scope);
        ck_assert_str_eq(attribute_text(scope, 1), expected);
        protobuf_c_message_free_unpacked(&scope->base, NULL);
    }
}
END_TEST

START_TEST(json_that_is_none_stays_text)
{
    ck_assert(log_begin(f.log, LOG_INFO, LOG_PLAIN, "m"));
    log_json(f.log, "rules", "[{", 2);
    log_end(f.log);
    take_record(&f.out);
    Otlp__ScopeLogs *scope = (Otlp__ScopeLogs *)protobuf_c_message_unpack(&otlp__scope_logs__descriptor, NULL,
                                                                          f.out.len, (uint8_t *)f.out.data);
    ck_assert_ptr_nonnull(scope);
    ck_assert_str_eq(attribute_text(scope, 1), "[{");
    protobuf_c_message_free_unpacked(&scope->base, NULL);
}
END_TEST

#define FRAME_METRICS                                                                                                  \
    "{\"resourceMetrics\":[{\"resource\":{\"attributes\":["                                                            \
    "{\"key\":\"service.name\",\"value\":{\"stringValue\":\"s\"}},"                                                    \
    "{\"key\":\"process.pid\",\"value\":{\"intValue\":\"7\"}}]},"                                                      \
    "\"scopeMetrics\":[{\"scope\":{\"name\":\"opensandbox/egress\",\"version\":\"1.2\"},\"metrics\":["

static void encode_metric(const struct metric_data *metric, size_t expected_points)
{
    const struct metrics_data data = {metric, 1};
    size_t points;
    otlp_metrics_request(&f.frame, &sandbox, 1, &data, &f.out, &points);
    ck_assert(!f.out.failed);
    ck_assert_uint_eq(points, expected_points);
}

START_TEST(sums_and_gauges)
{
    static const struct metric_attribute udp[] = {{.key = "proto", .text = "udp"}, {.key = "status", .integer = 200}};
    const struct metric_point points[] = {
        {.attributes = udp, .n_attributes = 2, .start_ns = 5, .time_ns = 9, .integer = 0},
        {.start_ns = 5, .time_ns = 9, .is_double = true, .number = 1.5},
    };
    encode_metric(&(struct metric_data){.name = "n",
                                        .description = "d",
                                        .unit = "{query}",
                                        .kind = METRIC_SUM,
                                        .monotonic = true,
                                        .temporality = METRIC_CUMULATIVE,
                                        .points = points,
                                        .n_points = 2},
                  2);
    check_json(&otlp__export_metrics_service_request__descriptor, FRAME_METRICS
               "{\"name\":\"n\",\"description\":\"d\",\"unit\":\"{query}\",\"sum\":{\"dataPoints\":["
               "{\"startTimeUnixNano\":\"5\",\"timeUnixNano\":\"9\",\"asInt\":\"0\",\"attributes\":[" SANDBOX_ID ","
               "{\"key\":\"proto\",\"value\":{\"stringValue\":\"udp\"}},"
               "{\"key\":\"status\",\"value\":{\"intValue\":\"200\"}}]},"
               "{\"startTimeUnixNano\":\"5\",\"timeUnixNano\":\"9\",\"asDouble\":1.5,\"attributes\":[" SANDBOX_ID "]}],"
               "\"aggregationTemporality\":2,\"isMonotonic\":true}}]}]}]}");
    buf_clear(&f.out);
    encode_metric(&(struct metric_data){.name = "g",
                                        .kind = METRIC_GAUGE,
                                        .points = &(struct metric_point){.time_ns = 9, .integer = -3},
                                        .n_points = 1},
                  1);
    check_json(&otlp__export_metrics_service_request__descriptor,
               FRAME_METRICS "{\"name\":\"g\",\"gauge\":{\"dataPoints\":[{\"timeUnixNano\":\"9\",\"asInt\":\"-3\","
                             "\"attributes\":[" SANDBOX_ID "]}]}}]}]}]}");
    buf_clear(&f.out);
    encode_metric(&(struct metric_data){.name = "nothing measured", .kind = METRIC_GAUGE}, 0);
    check_json(&otlp__export_metrics_service_request__descriptor,
               "{\"resourceMetrics\":[{\"resource\":{\"attributes\":["
               "{\"key\":\"service.name\",\"value\":{\"stringValue\":\"s\"}},"
               "{\"key\":\"process.pid\",\"value\":{\"intValue\":\"7\"}}]},"
               "\"scopeMetrics\":[{\"scope\":{\"name\":\"opensandbox/egress\",\"version\":\"1.2\"}}]}]}");
}
END_TEST

START_TEST(histograms)
{
    static const double bounds[] = {0.005, 10};
    static const uint64_t counts[] = {1, 0, 1ull << 40};
    struct metric_point point = {.start_ns = 5,
                                 .time_ns = 9,
                                 .histogram = {.count = (1ull << 40) + 1,
                                               .sum = 0.5,
                                               .has_range = true,
                                               .min = 0.001,
                                               .max = 20,
                                               .bounds = bounds,
                                               .n_bounds = 2,
                                               .counts = counts}};
    struct metric_data metric = {.name = "h",
                                 .unit = "s",
                                 .kind = METRIC_HISTOGRAM,
                                 .temporality = METRIC_DELTA,
                                 .points = &point,
                                 .n_points = 1};
    encode_metric(&metric, 1);
    check_json(&otlp__export_metrics_service_request__descriptor, FRAME_METRICS
               "{\"name\":\"h\",\"unit\":\"s\",\"histogram\":{\"dataPoints\":[{\"startTimeUnixNano\":\"5\","
               "\"timeUnixNano\":\"9\",\"count\":\"1099511627777\",\"sum\":0.5,"
               "\"bucketCounts\":[\"1\",\"0\",\"1099511627776\"],\"explicitBounds\":[0.0050000000000000001,10],"
               "\"attributes\":[" SANDBOX_ID "],\"min\":0.001,\"max\":20}],\"aggregationTemporality\":1}}]}]}]}");
    point.histogram = (struct histogram_data){
        .count = 301, .sum = 3, .scale = -2, .offset = -7, .positive = counts, .n_positive = 3, .zero_count = 4};
    metric.kind = METRIC_EXPONENTIAL_HISTOGRAM;
    buf_clear(&f.out);
    encode_metric(&metric, 1);
    check_json(&otlp__export_metrics_service_request__descriptor, FRAME_METRICS
               "{\"name\":\"h\",\"unit\":\"s\",\"exponentialHistogram\":{\"dataPoints\":[{\"attributes\":[" SANDBOX_ID
               "],"
               "\"startTimeUnixNano\":\"5\",\"timeUnixNano\":\"9\",\"count\":\"301\",\"sum\":3,\"scale\":-2,"
               "\"zeroCount\":\"4\",\"positive\":{\"offset\":-7,\"bucketCounts\":[\"1\",\"0\",\"1099511627776\"]}}],"
               "\"aggregationTemporality\":1}}]}]}]}");
}
END_TEST

START_TEST(bytes_that_are_no_message)
{
    buf_puts(&f.out, "\x0a\xff");
    ck_assert_int_eq(otlp_json(&otlp__export_metrics_service_request__descriptor, f.out.data, f.out.len, &f.json),
                     -EBADMSG);
}
END_TEST

/* A control character takes one octet in protobuf and six in JSON. */
START_TEST(requests_that_are_too_large)
{
    size_t len = OTLP_REQUEST_MAX / 6 + 1;
    char *text = malloc(len + 1);
    memset(text, 1, len);
    text[len] = '\0';
    Otlp__AnyValue value = OTLP__ANY_VALUE__INIT;
    value.value_case = OTLP__ANY_VALUE__VALUE_STRING_VALUE;
    value.string_value = text;
    uint8_t *packed = malloc(len + 100);
    size_t packed_len = otlp__any_value__pack(&value, packed);
    for (int gzip = 0; gzip <= 1; gzip++) {
        ck_assert_int_eq(otlp_body(OTLP_HTTP_JSON, gzip, &otlp__any_value__descriptor, packed, packed_len, &f.out),
                         -EMSGSIZE);
        ck_assert_int_eq(otlp_body(OTLP_HTTP_PROTOBUF, gzip, &otlp__any_value__descriptor, packed, packed_len, &f.out),
                         0);
        ck_assert_int_eq(otlp_body(OTLP_GRPC, gzip, &otlp__any_value__descriptor, packed, OTLP_REQUEST_MAX + 1, &f.out),
                         -EMSGSIZE);
    }
    free(packed);
    free(text);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("otlp_encoding");
    TCase *tc = tcase_create("otlp_encoding");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, a_record_has_every_field_of_its_line);
    tcase_add_test(tc, keys_are_always_utf8);
    tcase_add_test(tc, texts_of_any_length_and_content);
    tcase_add_test(tc, json_that_is_none_stays_text);
    tcase_add_test(tc, sums_and_gauges);
    tcase_add_test(tc, histograms);
    tcase_add_test(tc, bytes_that_are_no_message);
    tcase_add_test(tc, requests_that_are_too_large);
    suite_add_tcase(suite, tc);
    return suite;
}
