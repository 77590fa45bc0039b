/* GET /events: looking, and waiting for what comes next. */
#include "api_fixture.h"
#include "runner.h"

#include "api/events_api.h"
#include "base/cleanup.h"
#include "base/loop.h"

#include <stdio.h>
#include <string.h>

static struct fixture f;
static struct recent *recent;

static void start(void)
{
    ck_assert_int_eq(recent_new(NULL, 0, &recent), 0);
    fixture_start(&f, (struct api_settings){.recent = recent});
}

static void stop(void)
{
    fixture_stop(&f);
    recent_free(recent);
}

static void add(const char *host)
{
    _cleanup_buf_ struct buf fields = {0};
    buf_printf(&fields, ",\"target.host\":\"%s\"", host);
    recent_add(recent, "T", 1, fields.data, fields.len);
}

static void expect_events(struct answer *answer, const char *events)
{
    ck_assert_int_eq(answer->status, 200);
    char *begin = strstr(answer->body.data, "\"last\"");
    ck_assert_ptr_nonnull(begin);
    ck_assert_str_eq(begin, events);
    buf_done(&answer->body);
}

static int ask(const char *query)
{
    char path[64];
    snprintf(path, sizeof(path), "/events%s", query);
    int fd = client_connect(&f);
    client_send(fd, "GET", path, NULL, NULL, 0);
    return fd;
}

static void expect(const char *query, const char *events)
{
    _cleanup_close_ int fd = ask(query);
    struct answer answer = client_read(fd, false);
    expect_events(&answer, events);
}

#define ONE "{\"number\":1,\"ts\":\"T\",\"target.host\":\"a\"}"
#define TWO "{\"number\":2,\"ts\":\"T\",\"target.host\":\"b\"}"

START_TEST(what_is_there_is_answered_at_once)
{
    expect("", "\"last\":0,\"lost\":0,\"events\":[]}\n");
    expect("?after=0&wait=0", "\"last\":0,\"lost\":0,\"events\":[]}\n");
    add("a");
    add("b");
    expect("", "\"last\":2,\"lost\":0,\"events\":[" ONE "," TWO "]}\n");
    expect("?after=0", "\"last\":2,\"lost\":0,\"events\":[" ONE "," TWO "]}\n");
    expect("?after=1&wait=25", "\"last\":2,\"lost\":0,\"events\":[" TWO "]}\n");
    expect("?after=9", "\"last\":2,\"lost\":0,\"events\":[" ONE "," TWO "]}\n");
    expect("?after=2&started=1", "\"last\":2,\"lost\":0,\"events\":[" ONE "," TWO "]}\n");
    expect("?after=2&wait=0", "\"last\":2,\"lost\":0,\"events\":[]}\n");
}
END_TEST

START_TEST(parameters_that_cannot_be_used_are_named)
{
    static const char *const wrong[] = {"?after=", "?after=-1", "?after=1x", "?after=99999999999999999999"};
    for (size_t i = 0; i < 4; i++) {
        char path[64];
        snprintf(path, sizeof(path), "/events%s", wrong[i]);
        client_expect(&f, "GET", path, NULL, 400, "after: expected the number of an event\n");
    }
    client_expect(&f, "GET", "/events?after=0&started=now", NULL, 400, "started: expected a number\n");
    client_expect(&f, "GET", "/events?wait=26", NULL, 400, "wait: expected 0 to 25 seconds\n");
    client_expect(&f, "GET", "/events?after=0&wait=1.5", NULL, 400, "wait: expected 0 to 25 seconds\n");
}
END_TEST

/* An answer that has to wait must be there `least_ms` to `most_ms` later. */
static void expect_in(int fd, uint64_t since_ns, unsigned least_ms, unsigned most_ms, const char *events)
{
    struct answer answer = client_read(fd, false);
    uint64_t ms = (clock_monotonic_ns() - since_ns) / NS_PER_MS;
    expect_events(&answer, events);
    ck_assert_msg(ms >= least_ms && ms <= most_ms, "%u ms", (unsigned)ms);
}

START_TEST(the_next_event_answers_all_who_wait)
{
    int fds[3];
    for (int i = 0; i < 3; i++)
        fds[i] = ask("?after=0");
    client_expect(&f, "GET", "/healthz", NULL, 200, "ok"); /* they are waiting by now, and keep nobody away */
    uint64_t then = clock_monotonic_ns();
    add("a");
    for (int i = 0; i < 3; i++) {
        expect_in(fds[i], then, 0, 3000, "\"last\":1,\"lost\":0,\"events\":[" ONE "]}\n");
        cleanup_close(&fds[i]);
    }
    _cleanup_close_ int again = ask("?after=1");
    client_expect(&f, "GET", "/healthz", NULL, 200, "ok");
    then = clock_monotonic_ns();
    add("b");
    expect_in(again, then, 0, 3000, "\"last\":2,\"lost\":0,\"events\":[" TWO "]}\n");
}
END_TEST

START_TEST(waiting_ends_when_its_time_is_over)
{
    uint64_t then = clock_monotonic_ns();
    _cleanup_close_ int longer = ask("?after=0&wait=2"), shorter = ask("?after=0&wait=1");
    expect_in(shorter, then, 1000, 5000, "\"last\":0,\"lost\":0,\"events\":[]}\n");
    expect_in(longer, then, 2000, 5000, "\"last\":0,\"lost\":0,\"events\":[]}\n");
}
END_TEST

START_TEST(of_too_many_who_wait_the_first_is_answered_before_its_time)
{
    int fds[EVENTS_WAITING_MAX + 1];
    for (int i = 0; i <= EVENTS_WAITING_MAX; i++) {
        fds[i] = ask("?after=0");
        client_expect(&f, "GET", "/healthz", NULL, 200, "ok"); /* so they come in this order */
    }
    struct answer answer = client_read(fds[0], false);
    expect_events(&answer, "\"last\":0,\"lost\":0,\"events\":[]}\n");
    add("a");
    for (int i = 1; i <= EVENTS_WAITING_MAX; i++) {
        answer = client_read(fds[i], false);
        expect_events(&answer, "\"last\":1,\"lost\":0,\"events\":[" ONE "]}\n");
    }
    for (int i = 0; i <= EVENTS_WAITING_MAX; i++)
        cleanup_close(&fds[i]);
}
END_TEST

START_TEST(a_stop_answers_who_waits)
{
    _cleanup_close_ int fd = ask("?after=0");
    client_expect(&f, "GET", "/healthz", NULL, 200, "ok");
    uint64_t then = clock_monotonic_ns();
    api_stop(f.api, 5000);
    f.api = NULL;
    expect_in(fd, then, 0, 5000, "\"last\":0,\"lost\":0,\"events\":[]}\n");
    add("a"); /* nobody is called any more */
}
END_TEST

START_TEST(who_went_away_harms_nobody)
{
    for (int i = 0; i < 5; i++) {
        _cleanup_close_ int fd = ask("?after=0");
        client_expect(&f, "GET", "/healthz", NULL, 200, "ok");
    }
    add("a");
    expect("?after=0", "\"last\":1,\"lost\":0,\"events\":[" ONE "]}\n");
}
END_TEST

#define HELD 24

/* The kernel takes some answers off the server's hands, so each asks for many. */
static int ask_and_never_read(void)
{
    static const char request[] = "GET /events HTTP/1.1\r\nHost: x\r\n\r\n";
    int fd = client_connect(&f);
    for (int i = 0; i < 40; i++)
        client_send_raw(fd, request, sizeof(request) - 1);
    return fd;
}

/* Asks until the answer has this status, and hands back its Retry-After. */
static char *wait_status(int status)
{
    for (uint64_t end_ns = clock_monotonic_ns() + 20 * NS_PER_S; clock_monotonic_ns() < end_ns;) {
        struct answer answer = client_call(&f, "GET", "/events", NULL, NULL);
        buf_done(&answer.body);
        if (answer.status == status)
            return answer_header(&answer, "Retry-After");
    }
    ck_abort_msg("never %d", status);
}

START_TEST(answers_that_nobody_takes_have_a_limit)
{
    char host[201] = "";
    memset(host, 'a', sizeof(host) - 1);
    for (int i = 0; i < RECENT_MAX; i++)
        add(host);
    int fds[HELD];
    for (int i = 0; i < HELD; i++)
        fds[i] = ask_and_never_read();
    _cleanup_free_ char *retry = wait_status(503);
    ck_assert_str_eq(retry, "1");
    client_expect(&f, "GET", "/healthz", NULL, 200, "ok");
    for (int i = 0; i < HELD; i++)
        cleanup_close(&fds[i]);
    ck_assert_ptr_null(wait_status(200));
}
END_TEST

START_TEST(other_methods_are_refused)
{
    struct answer answer = client_call(&f, "POST", "/events", NULL, "x");
    _cleanup_free_ char *allow = answer_header(&answer, "Allow");
    ck_assert_int_eq(answer.status, 405);
    ck_assert_str_eq(allow, "GET");
    buf_done(&answer.body);
}
END_TEST

START_TEST(without_the_ui_there_are_none)
{
    fixture_stop(&f);
    fixture_start(&f, (struct api_settings){0});
    client_expect(&f, "GET", "/events", NULL, 404, "not found\n");
}
END_TEST

START_TEST(the_token_guards_them_and_a_wrong_one_is_in_the_log)
{
    fixture_stop(&f);
    fixture_start(&f, (struct api_settings){.recent = recent, .token = "s3cret"});
    client_expect(&f, "GET", "/events", NULL, 401, "unauthorized\n");
    struct answer answer = client_call(&f, "GET", "/events", "OPENSANDBOX-EGRESS-AUTH: s3cret\r\n", NULL);
    expect_events(&answer, "\"last\":0,\"lost\":0,\"events\":[]}\n");
    fixture_expect_log(
        &f, "INFO - api request http.request.method=GET http.route=/events http.response.status_code=401", true);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("api_events");
    TCase *tcase = tcase_create("api_events");
    tcase_set_timeout(tcase, 30);
    tcase_add_checked_fixture(tcase, start, stop);
    tcase_add_test(tcase, what_is_there_is_answered_at_once);
    tcase_add_test(tcase, parameters_that_cannot_be_used_are_named);
    tcase_add_test(tcase, the_next_event_answers_all_who_wait);
    tcase_add_test(tcase, waiting_ends_when_its_time_is_over);
    tcase_add_test(tcase, of_too_many_who_wait_the_first_is_answered_before_its_time);
    tcase_add_test(tcase, a_stop_answers_who_waits);
    tcase_add_test(tcase, who_went_away_harms_nobody);
    tcase_add_test(tcase, answers_that_nobody_takes_have_a_limit);
    tcase_add_test(tcase, other_methods_are_refused);
    tcase_add_test(tcase, without_the_ui_there_are_none);
    tcase_add_test(tcase, the_token_guards_them_and_a_wrong_one_is_in_the_log);
    suite_add_tcase(suite, tcase);
    return suite;
}
