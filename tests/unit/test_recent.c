/* The ring of the latest events. */
#include "base/cleanup.h"
#include "base/loop.h"
#include "base/recent.h"
#include "tests/unit/random.h"
#include "tests/unit/runner.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOW (1000 * NS_PER_S)
#define TIME "2026-11-22T06:00:00.123Z"

static struct recent *recent;
static struct log *log_warn;

static void setup(void)
{
    ck_assert_int_eq(log_new(4096, LOG_WARN, &log_warn), 0);
    ck_assert_int_eq(recent_new(&log_warn, 1, &recent), 0);
}

static void teardown(void)
{
    recent_free(recent);
    log_free(log_warn);
}

/* An event with its number as `n` and `padding` bytes beside. */
static void add(int n, size_t padding)
{
    _cleanup_buf_ struct buf fields = {0};
    buf_printf(&fields, ",\"n\":%d,\"x\":\"", n);
    for (size_t i = 0; i < padding; i++)
        buf_putc(&fields, (char)('a' + n % 26));
    buf_putc(&fields, '"');
    recent_add(recent, TIME, strlen(TIME), fields.data, fields.len);
}

static cJSON *look(uint64_t after)
{
    _cleanup_buf_ struct buf text = {0};
    recent_json(recent, after, NOW, &text);
    const char *end;
    cJSON *json = cJSON_ParseWithOpts(text.data, &end, false);
    ck_assert_msg(json && !strcmp(end, "\n"), "no JSON: %.200s", text.data);
    return json;
}

static int number(const cJSON *json, const char *key)
{
    return (int)cJSON_GetObjectItem(json, key)->valuedouble;
}

/* There are the events up to `last`, in order and whole, and `lost` says what is missing after `after`. */
static int expect(int after, int last)
{
    cJSON *json = look((uint64_t)after), *event;
    cJSON *events = cJSON_GetObjectItem(json, "events");
    int n = cJSON_GetArraySize(events), next = last - n + 1;
    ck_assert_int_eq(number(json, "last"), last);
    ck_assert_int_eq(number(json, "lost"), last - n - after);
    cJSON_ArrayForEach(event, events)
    {
        const char *padding = cJSON_GetObjectItem(event, "x")->valuestring;
        char expected[2] = {(char)('a' + next % 26), 0};
        ck_assert_int_eq(number(event, "n"), next);
        ck_assert_uint_eq(strspn(padding, expected), strlen(padding));
        ck_assert_str_eq(cJSON_GetObjectItem(event, "ts")->valuestring, TIME);
        ck_assert_int_eq(number(event, "number"), next++);
    }
    cJSON_Delete(json);
    return n;
}

START_TEST(events_come_in_order_and_after_the_one_that_is_known)
{
    ck_assert(!recent_has(recent, 0) && !recent_has(recent, 7));
    ck_assert_int_eq(expect(0, 0), 0);
    for (int i = 1; i <= 3; i++)
        add(i, 10);
    ck_assert_int_eq(expect(0, 3), 3);
    ck_assert_int_eq(expect(2, 3), 1);
    ck_assert_int_eq(expect(3, 3), 0);
    ck_assert(recent_has(recent, 2) && !recent_has(recent, 3));
}
END_TEST

/* It was known to somebody before the sidecar's restart. */
START_TEST(a_number_that_is_not_there_yet_gives_all)
{
    add(1, 0);
    ck_assert(recent_has(recent, 99));
    cJSON *json = look(99);
    ck_assert_int_eq(cJSON_GetArraySize(cJSON_GetObjectItem(json, "events")), 1);
    ck_assert_int_eq(number(json, "lost"), 0);
    cJSON_Delete(json);
}
END_TEST

START_TEST(the_oldest_make_room_and_are_told_as_lost)
{
    for (int i = 1; i <= 2500; i++)
        add(i, 20);
    ck_assert_int_eq(expect(0, 2500), RECENT_MAX);
    ck_assert_int_eq(expect(2500 - RECENT_MAX, 2500), RECENT_MAX);
    ck_assert_int_eq(expect(2499, 2500), 1);
}
END_TEST

START_TEST(bytes_are_bounded_too)
{
    for (int i = 1; i <= 300; i++)
        add(i, 8000);
    int n = expect(0, 300);
    ck_assert_msg(n > 20 && n <= RECENT_BYTES / 8000, "%d", n);
    add(0, RECENT_BYTES); /* cannot be kept, and harms nobody */
    ck_assert_int_eq(expect(0, 300), n);
}
END_TEST

START_TEST(sizes_of_all_kinds_never_mix)
{
    struct random random = {.state = 7};
    for (int i = 1; i <= 5000; i++) {
        add(i, random_below(&random, 40) ? random_below(&random, 900) : random_below(&random, 100000));
        if (i % 53 == 0)
            ck_assert_int_gt(expect(0, i), 0);
    }
}
END_TEST

/* Who looks gets events that are not written, and for a minute only. */
START_TEST(logs_have_events_below_their_level_while_somebody_looks)
{
    ck_assert(!log_wants(log_warn, LOG_INFO));
    recent_tend(recent, NOW);
    cJSON_Delete(look(0));
    recent_tend(recent, NOW + (RECENT_WATCH_S - 1) * NS_PER_S);
    ck_assert(log_wants(log_warn, LOG_INFO) && !log_wants(log_warn, LOG_DEBUG));
    ck_assert(log_begin(log_warn, LOG_INFO, LOG_DENIED, "egress denied"));
    log_end(log_warn);
    ck_assert(log_begin(log_warn, LOG_WARN, LOG_PLAIN, "trouble"));
    log_end(log_warn);
    struct log_record record;
    ck_assert(log_peek(log_warn, &record) && record.unwritten);
    log_pop(log_warn);
    ck_assert(log_peek(log_warn, &record) && !record.unwritten);
    recent_tend(recent, NOW + RECENT_WATCH_S * NS_PER_S);
    ck_assert(!log_wants(log_warn, LOG_INFO) && log_wants(log_warn, LOG_WARN));
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("recent");
    TCase *tcase = tcase_create("recent");
    tcase_set_timeout(tcase, 30);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, events_come_in_order_and_after_the_one_that_is_known);
    tcase_add_test(tcase, a_number_that_is_not_there_yet_gives_all);
    tcase_add_test(tcase, the_oldest_make_room_and_are_told_as_lost);
    tcase_add_test(tcase, bytes_are_bounded_too);
    tcase_add_test(tcase, sizes_of_all_kinds_never_mix);
    tcase_add_test(tcase, logs_have_events_below_their_level_while_somebody_looks);
    suite_add_tcase(suite, tcase);
    return suite;
}
