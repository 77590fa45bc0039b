#include "telemetry/log_json.h"
#include "telemetry/log_text.h"
#include "tests/unit/random.h"
#include "tests/unit/runner.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <string.h>

static const struct attribute attributes[] = {{"sandbox_id", "s\"1"}, {"te\\am", "\xff\n"}};

struct fixture {
    struct log *log;
    struct log_json json;
    struct buf line;
    cJSON *parsed;
};

static struct fixture f;

static void setup(void)
{
    f = (struct fixture){0};
    ck_assert_int_eq(log_new(1 << 18, LOG_DEBUG, &f.log), 0);
    ck_assert_int_eq(log_json_init(&f.json, attributes, 2), 0);
}

static void teardown(void)
{
    cJSON_Delete(f.parsed);
    buf_done(&f.line);
    log_json_done(&f.json);
    log_free(f.log);
}

/* Turns the oldest record into a line and parses it: one object, one line break, at the end. */
static void take_line(void)
{
    struct log_record record;
    ck_assert(log_peek(f.log, &record));
    buf_clear(&f.line);
    log_json_line(&f.json, record, &f.line);
    log_pop(f.log);
    ck_assert(!f.line.failed);
    ck_assert_ptr_eq(memchr(f.line.data, '\n', f.line.len), f.line.data + f.line.len - 1);
    cJSON_Delete(f.parsed);
    f.parsed = cJSON_ParseWithLength(f.line.data, f.line.len);
    ck_assert_msg(f.parsed != NULL, "no JSON: %s", f.line.data);
}

static const char *text_of(const char *key)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(f.parsed, key));
    ck_assert_msg(text != NULL, "no text %s in %s", key, f.line.data);
    return text;
}

START_TEST(a_line_is_what_the_contract_shows)
{
    static const uint8_t name[] = "\3WWW\7example\3com";
    struct ip_addr addr;
    struct log_json plain;
    struct log_record record;
    ck_assert_int_eq(ip_parse("192.0.2.7", &addr), 0);
    ck_assert_int_eq(log_json_init(&plain, NULL, 0), 0);
    ck_assert(log_begin(f.log, LOG_INFO, LOG_OUTBOUND, "egress outbound"));
    log_name(f.log, "target.host", name, sizeof(name));
    log_ips(f.log, "target.ips", &addr, 1);
    log_end(f.log);
    ck_assert(log_peek(f.log, &record));
    record.time_ns = 1795327200123456789; /* 2026-11-22T06:00:00.123456789Z */
    log_json_line(&plain, record, &f.line);
    ck_assert_str_eq(f.line.data,
                     "{\"level\":\"info\",\"ts\":\"2026-11-22T06:00:00.123Z\",\"logger\":\"opensandbox.egress\","
                     "\"msg\":\"egress outbound\",\"opensandbox.event\":\"egress.outbound\","
                     "\"target.host\":\"www.example.com\",\"target.ips\":[\"192.0.2.7\"]}\n");
    log_json_done(&plain);
}
END_TEST

START_TEST(time_moves_on)
{
    static const struct {
        int64_t ns;
        const char *text;
    } times[] = {
        {0, "1970-01-01T00:00:00.000Z"},
        {999999999, "1970-01-01T00:00:00.999Z"},
        {951782400005000000, "2000-02-29T00:00:00.005Z"},
        {4102444799050000000, "2099-12-31T23:59:59.050Z"},
    };
    for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
        struct log_record record = {.level = LOG_INFO, .msg = "m", .time_ns = times[i].ns};
        buf_clear(&f.line);
        log_json_line(&f.json, record, &f.line);
        ck_assert_ptr_nonnull(strstr(f.line.data, times[i].text));
    }
}
END_TEST

START_TEST(levels_and_events_have_their_names)
{
    static const char *const levels[] = {"debug", "info", "warn", "error", "fatal"};
    static const char *const events[] = {NULL,
                                         "egress.loaded",
                                         "egress.updated",
                                         "egress.update_failed",
                                         "egress.outbound",
                                         "egress.denied",
                                         "egress.api.denied"};
    for (enum log_level level = LOG_DEBUG; level <= LOG_FATAL; level++) {
        log_printf(f.log, level, "m");
        take_line();
        ck_assert_str_eq(text_of("level"), levels[level]);
        ck_assert_ptr_null(cJSON_GetObjectItem(f.parsed, "opensandbox.event"));
    }
    for (enum log_event event = LOG_LOADED; event <= LOG_API_DENIED; event++) {
        ck_assert(log_begin(f.log, LOG_INFO, event, "m"));
        log_end(f.log);
        take_line();
        ck_assert_str_eq(text_of("opensandbox.event"), events[event]);
    }
}
END_TEST

START_TEST(hostile_text_comes_back)
{
    static const char hostile[] = "\"}\n{\"level\":\"fatal\"}\\u0041\\\t\r\x01\x1f\x7f/\xc3\xa4";
    log_printf(f.log, LOG_INFO, "%s", hostile);
    take_line();
    ck_assert_str_eq(text_of("msg"), hostile);
    ck_assert_str_eq(text_of("sandbox_id"), "s\"1");
    ck_assert_str_eq(text_of("te\\am"), "\xef\xbf\xbd\n");
    ck_assert(log_begin(f.log, LOG_INFO, LOG_PLAIN, "m"));
    log_str(f.log, "error", hostile, sizeof(hostile) - 1);
    log_str(f.log, "bad", "a\xff\xc3z", 4);
    log_str(f.log, "empty", NULL, 0);
    log_end(f.log);
    take_line();
    ck_assert_str_eq(text_of("error"), hostile);
    ck_assert_str_eq(text_of("bad"), "a\xef\xbf\xbd\xef\xbf\xbdz");
    ck_assert_str_eq(text_of("empty"), "");
}
END_TEST

START_TEST(any_bytes_give_one_parsable_line)
{
    struct random random = random_new();
    for (int round = 0; round < 5000; round++) {
        char bytes[300];
        size_t len = random_below(&random, sizeof(bytes));
        for (size_t i = 0; i < len; i++)
            bytes[i] = (char)random_below(&random, 256);
        ck_assert(log_begin(f.log, LOG_INFO, LOG_PLAIN, "m"));
        log_str(f.log, "text", bytes, len);
        log_name(f.log, "name", (uint8_t *)bytes, len);
        log_ips(f.log, "ips", (struct ip_addr *)bytes, len / sizeof(struct ip_addr));
        log_end(f.log);
        take_line();
        text_of("text");
        text_of("name");
        ck_assert_int_eq(cJSON_GetArraySize(cJSON_GetObjectItem(f.parsed, "ips")), (int)(len / sizeof(struct ip_addr)));
    }
}
END_TEST

START_TEST(numbers)
{
    ck_assert(log_begin(f.log, LOG_INFO, LOG_PLAIN, "m"));
    log_int(f.log, "min", INT64_MIN);
    log_int(f.log, "status", 404);
    log_double(f.log, "duration", 0.00125);
    log_bool(f.log, "yes", true);
    log_bool(f.log, "no", false);
    log_double(f.log, "nan", NAN);
    log_double(f.log, "inf", -INFINITY);
    log_json(f.log, "rules", "[{\"action\":\"allow\"}]", 20);
    log_end(f.log);
    take_line();
    ck_assert_ptr_nonnull(strstr(f.line.data, "\"min\":-9223372036854775808,\"status\":404,\"duration\":0.00125,"
                                              "\"yes\":true,\"no\":false,"));
    ck_assert(cJSON_IsNull(cJSON_GetObjectItem(f.parsed, "nan")));
    ck_assert(cJSON_IsNull(cJSON_GetObjectItem(f.parsed, "inf")));
    ck_assert_int_eq(cJSON_GetArraySize(cJSON_GetObjectItem(f.parsed, "rules")), 1);
}
END_TEST

static const char *name_text(const uint8_t *wire, size_t len)
{
    ck_assert(log_begin(f.log, LOG_INFO, LOG_PLAIN, "m"));
    log_name(f.log, "name", wire, len);
    log_end(f.log);
    take_line();
    return text_of("name");
}

START_TEST(every_octet_of_a_name_is_readable)
{
    for (int c = 0; c < 256; c++) {
        uint8_t wire[] = {1, (uint8_t)c, 1, 'x', 0};
        char expected[16];
        if (c >= 'A' && c <= 'Z')
            snprintf(expected, sizeof(expected), "%c.x", c + 32);
        else if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_')
            snprintf(expected, sizeof(expected), "%c.x", c);
        else
            snprintf(expected, sizeof(expected), "\\%03d.x", c);
        ck_assert_str_eq(name_text(wire, sizeof(wire)), expected);
    }
}
END_TEST

START_TEST(odd_names)
{
    uint8_t longest[255] = {0};
    ck_assert_str_eq(name_text((uint8_t *)"", 1), ".");
    ck_assert_str_eq(name_text(NULL, 0), "");
    ck_assert_str_eq(name_text((uint8_t *)"\3ab", 3), "ab");       /* cut off */
    ck_assert_str_eq(name_text((uint8_t *)"\1a\xc0\x0c", 4), "a"); /* a compression pointer */
    ck_assert_str_eq(name_text((uint8_t *)"\1a\0\1b", 5), "a");    /* bytes behind the end */
    for (size_t at = 0; at < 254; at += 64)
        longest[at] = at < 192 ? 63 : 61;
    ck_assert_uint_eq(strlen(name_text(longest, sizeof(longest))), (63 * 3 + 61) * 4 + 3);
}
END_TEST

START_TEST(addresses_read_as_ip_format_writes_them)
{
    struct random random = random_new();
    for (int round = 0; round < 200000; round++) {
        struct ip_addr addr = {.family = round % 4 ? AF_INET6 : AF_INET};
        /* Mostly zeros, so that runs of zeros come in all places and lengths. */
        for (size_t i = 0; i < ip_size(addr.family); i++)
            addr.bytes[i] = random_below(&random, 3) ? 0 : (uint8_t)random_below(&random, 256);
        if (round % 16 == 1) { /* IPv4 within IPv6 */
            memset(addr.bytes, 0, 10);
            memset(addr.bytes + 10, random_below(&random, 2) ? 0xff : 0, 2);
        }
        char expected[IP_TEXT_MAX], got[IP_TEXT_MAX];
        got[log_text_ip(&addr, got)] = '\0';
        ck_assert_msg(!strcmp(got, ip_format(&addr, expected)), "seed %lu: %s instead of %s",
                      (unsigned long)random.seed, got, expected);
    }
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("log_json");
    TCase *tc = tcase_create("log_json");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, a_line_is_what_the_contract_shows);
    tcase_add_test(tc, time_moves_on);
    tcase_add_test(tc, levels_and_events_have_their_names);
    tcase_add_test(tc, hostile_text_comes_back);
    tcase_add_test(tc, any_bytes_give_one_parsable_line);
    tcase_add_test(tc, numbers);
    tcase_add_test(tc, every_octet_of_a_name_is_readable);
    tcase_add_test(tc, odd_names);
    tcase_add_test(tc, addresses_read_as_ip_format_writes_them);
    suite_add_tcase(suite, tc);
    return suite;
}
