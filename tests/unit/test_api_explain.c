/* GET of /policy/explain and /policy/effective. */
#include "api_fixture.h"
#include "runner.h"

#include "base/cleanup.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define POLICY "{\"egress\":[" ALLOW("*.a.test") "," DENY("10.1.0.0/16") "," DENY("192.0.2.9") "]}"
#define EXPLAINED(target, action, layer, rule)                                                                         \
    "{\"status\":\"ok\",\"enforcementMode\":\"dns+nft\",\"target\":\"" target "\",\"action\":\"" action                \
    "\",\"layer\":\"" layer "\",\"rule\":" rule
#define NAME(target, action, layer, rule) EXPLAINED(target, action, layer, rule) "}\n"
#define ADDRESS(target, action, layer, rule, lease) EXPLAINED(target, action, layer, rule) ",\"lease\":" lease "}\n"
#define LEASE(address, state)                                                                                          \
    "{\"address\":\"" address "\",\"state\":\"" state "\",\"seconds\":7,\"names\":[\"www.example\"]}"
#define ALWAYS                                                                                                         \
    "\"deny_always\":[" DENY("bad.test") "," DENY("10.6.6.6") "],\"allow_always\":[" ALLOW("*.good.test") "," ALLOW(   \
        "10.0.0.0/8") "]"

static struct fixture f;

static void start(void)
{
    fixture_start(&f, (struct api_settings){0});
}

static void stop(void)
{
    fixture_stop(&f);
}

static const struct {
    const char *query;
    int status;
    const char *answer;
} questions[] = {
    {"www.a.test", 200, NAME("www.a.test", "allow", "policy", ALLOW("*.a.test"))},
    {"WWW.A.Test.", 200, NAME("WWW.A.Test.", "allow", "policy", ALLOW("*.a.test"))},
    {"a.test", 200, NAME("a.test", "deny", "default", "null")},
    {"bad.test", 200, NAME("bad.test", "deny", "deny_always", DENY("bad.test"))},
    {"x.good.test", 200, NAME("x.good.test", "allow", "allow_always", ALLOW("*.good.test"))},
    {"10.6.6.6", 200, ADDRESS("10.6.6.6", "deny", "deny_always", DENY("10.6.6.6"), "null")},
    {"10.1.2.3", 200, ADDRESS("10.1.2.3", "allow", "allow_always", ALLOW("10.0.0.0/8"), "null")},
    {"192.0.2.9/32", 200, ADDRESS("192.0.2.9/32", "deny", "policy", DENY("192.0.2.9"), "null")},
    {"192.0.2.7", 200, ADDRESS("192.0.2.7", "deny", "default", "null", "null")},
    {"2001:db8::1", 200, ADDRESS("2001:db8::1", "deny", "default", "null", "null")},
    {"%202001%3Adb8%3A%3A1%20", 200, ADDRESS("2001:db8::1", "deny", "default", "null", "null")},
    {"192.0.2.1", 200, ADDRESS("192.0.2.1", "allow", "learned", "null", LEASE("192.0.2.1", "learned"))},
    {"192.0.2.2", 200, ADDRESS("192.0.2.2", "deny", "revoked", "null", LEASE("192.0.2.2", "revoked"))},
    {"", 400, "target: "},
    {"*", 400, "target: \"*\": expected one name or one IP address"},
    {"*.a.test", 400, "target: \"*.a.test\": expected one name or one IP address"},
    {"10.0.0.0/8", 400, "target: \"10.0.0.0/8\": expected one name or one IP address"},
    {"https%3A//a.test", 400, "target: "},
    {"a.test:443", 400, "target: "},
    {"::ffff:10.0.0.1", 400, "target: "},
    {"a.test%00b", 400, "target: "},
    {"%ff%0ax", 400, "target: "},
};

START_TEST(explain)
{
    client_expect(&f, "PUT", "/policy", POLICY, 200, OK_BODY("enforcing"));
    char path[256];
    snprintf(path, sizeof(path), "/policy/explain?target=%s", questions[_i].query);
    struct answer answer = client_call(&f, "GET", path, NULL, NULL);
    ck_assert_int_eq(answer.status, questions[_i].status);
    if (answer.status == 200)
        ck_assert_str_eq(answer.body.data, questions[_i].answer);
    ck_assert_msg(!strncmp(answer.body.data, questions[_i].answer, strlen(questions[_i].answer)), "%s",
                  answer.body.data);
    ck_assert_ptr_eq(strchr(answer.body.data, '\n'), answer.body.data + answer.body.len - 1);
    buf_done(&answer.body);
}
END_TEST

START_TEST(under_default_allow)
{
    client_expect(&f, "PUT", "/policy", "{\"defaultAction\":\"allow\"}", 200, OK_BODY("allow_all"));
    client_expect(&f, "GET", "/policy/explain?target=any.test", NULL, 200,
                  NAME("any.test", "allow", "default", "null"));
    client_expect(&f, "GET", "/policy/explain?target=192.0.2.1", NULL, 200,
                  ADDRESS("192.0.2.1", "allow", "default", "null", LEASE("192.0.2.1", "learned")));
    client_expect(&f, "GET", "/policy/explain?target=192.0.2.2", NULL, 200,
                  ADDRESS("192.0.2.2", "deny", "revoked", "null", LEASE("192.0.2.2", "revoked")));
}
END_TEST

START_TEST(effective)
{
    client_expect(&f, "GET", "/policy/effective", NULL, 200,
                  "{\"status\":\"ok\",\"mode\":\"deny_all\",\"enforcementMode\":\"dns+nft\"," ALWAYS
                  ",\"policy\":{\"egress\":[],\"defaultAction\":\"deny\"}}\n");
    client_expect(&f, "PUT", "/policy", "{\"egress\":[" DENY("a.test") "]}", 200, OK_BODY("enforcing"));
    for (int i = 0; i < 2; i++) {
        struct answer answer = client_call(&f, "GET", "/policy/effective", NULL, NULL);
        ck_assert_str_eq(answer.body.data,
                         "{\"status\":\"ok\",\"mode\":\"enforcing\",\"enforcementMode\":\"dns+nft\"," ALWAYS
                         ",\"policy\":{\"egress\":[" DENY("a.test") "],\"defaultAction\":\"deny\"}}\n");
        _cleanup_free_ char *type = answer_header(&answer, "Content-Type");
        ck_assert_str_eq(type, "application/json");
        buf_done(&answer.body);
    }
}
END_TEST

START_TEST(leases)
{
    client_expect(&f, "GET", "/policy/leases", NULL, 200,
                  "{\"status\":\"ok\",\"leases\":[" FIXTURE_LEASES "],\"leasesTotal\":2}\n");
}
END_TEST

/* Those who still take an older answer get it whole. */
START_TEST(many_at_once)
{
    int clients[64];
    fixture_stop(&f);
    fixture_start(&f, (struct api_settings){.connections = 128});
    for (int i = 0; i < 64; i++)
        clients[i] = client_connect(&f);
    for (int i = 0; i < 64; i++) {
        client_send(clients[i], "GET", i % 2 ? "/policy/effective" : "/policy/explain?target=a.test", NULL, NULL, 0);
        if (i % 8 == 0)
            client_expect(&f, "PATCH", "/policy", i % 16 ? "[" ALLOW("a.test") "]" : "[" DENY("a.test") "]", 200,
                          OK_BODY("enforcing"));
    }
    for (int i = 0; i < 64; i++) {
        client_expect_answer(clients[i], 200, "{\"status\":\"ok\",");
        close(clients[i]);
    }
}
END_TEST

START_TEST(other_requests)
{
    static const char *const paths[] = {"/policy/explain", "/policy/effective", "/policy/leases"};
    client_expect(&f, "GET", "/policy/explain", NULL, 400, "target: missing; expected a name or an IP address\n");
    for (size_t i = 0; i < 3; i++) {
        struct answer answer = client_call(&f, "POST", paths[i], NULL, "{}");
        ck_assert_int_eq(answer.status, 405);
        _cleanup_free_ char *allow = answer_header(&answer, "Allow");
        ck_assert_str_eq(allow, "GET");
        buf_done(&answer.body);
    }
    client_expect(&f, "GET", "/policy/effective/", NULL, 404, "not found\n");
    fixture_expect_log(&f,
                       "http.request.method=GET http.route=/policy/explain http.response.status_code=400 "
                       "duration=SECONDS\n"
                       "INFO - api request http.request.method=POST http.route=/policy/explain "
                       "http.response.status_code=405 duration=SECONDS\n"
                       "INFO - api request http.request.method=POST http.route=/policy/effective ",
                       true);
}
END_TEST

START_TEST(the_token_guards_them)
{
    fixture_stop(&f);
    fixture_start(&f, (struct api_settings){.token = "s3cret"});
    client_expect(&f, "GET", "/policy/explain?target=a.test", NULL, 401, "unauthorized\n");
    client_expect(&f, "GET", "/policy/effective", NULL, 401, "unauthorized\n");
    struct answer answer = client_call(&f, "GET", "/policy/effective", "OPENSANDBOX-EGRESS-AUTH: s3cret\r\n", NULL);
    ck_assert_int_eq(answer.status, 200);
    buf_done(&answer.body);
}
END_TEST

static void *stop_soon(void *arg)
{
    api_stop(f.api, 20);
    return NULL;
}

/* The daemon takes its time; its answer is waited for even when the API's time is over, and the client has gone. */
START_TEST(the_end_waits_for_the_answer)
{
    fixture_hold(&f);
    int fd = client_connect(&f);
    client_send(fd, "GET", "/policy/effective", NULL, NULL, 0);
    fixture_wait_questions(&f, 1);
    client_expect(&f, "GET", "/healthz", NULL, 200, "ok");
    if (_i)
        close(fd);
    pthread_t stopper;
    ck_assert_int_eq(pthread_create(&stopper, NULL, stop_soon, NULL), 0);
    struct timespec limit;
    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec++;
    ck_assert_int_eq(pthread_timedjoin_np(stopper, NULL, &limit), ETIMEDOUT);
    fixture_release(&f);
    pthread_join(stopper, NULL);
    f.api = NULL;
    if (!_i) {
        client_expect_answer(fd, 200, "{\"status\":\"ok\",");
        close(fd);
    }
}
END_TEST

static void crowd(int fds[5])
{
    fixture_hold(&f);
    for (int i = 0; i < 5; i++) {
        fds[i] = client_connect(&f);
        client_send(fds[i], "GET", "/policy/leases", NULL, NULL, 0);
        client_expect(&f, "GET", "/healthz", NULL, 200, "ok"); /* so they come in this order */
    }
    fixture_wait_questions(&f, 2);
    ck_assert_uint_eq(f.n_questions, 2);
}

START_TEST(the_loop_gets_two_questions_at_once)
{
    int fds[5];
    crowd(fds);
    fixture_release(&f);
    for (int i = 0; i < 5; i++) {
        client_expect_answer(fds[i], 200, "{\"status\":\"ok\",\"leases\":[");
        close(fds[i]);
    }
    ck_assert_uint_eq(f.n_questions, 5);
}
END_TEST

START_TEST(half_of_the_connections_may_ask_the_loop)
{
    fixture_stop(&f);
    fixture_start(&f, (struct api_settings){.connections = 10});
    int fds[5];
    crowd(fds);
    struct answer answer = client_call(&f, "GET", "/policy/leases", NULL, NULL);
    _cleanup_free_ char *retry = answer_header(&answer, "Retry-After");
    ck_assert_int_eq(answer.status, 503);
    ck_assert_str_eq(retry, "1");
    buf_done(&answer.body);
    fixture_release(&f);
    for (int i = 0; i < 5; i++) {
        client_expect_answer(fds[i], 200, "{\"status\":\"ok\",");
        close(fds[i]);
    }
    answer = client_call(&f, "GET", "/policy/leases", NULL, NULL);
    ck_assert_int_eq(answer.status, 200);
    buf_done(&answer.body);
}
END_TEST

START_TEST(the_end_refuses_those_whose_turn_has_not_come)
{
    int fds[5];
    crowd(fds);
    pthread_t stopper;
    ck_assert_int_eq(pthread_create(&stopper, NULL, stop_soon, NULL), 0);
    for (int i = 2; i < 5; i++) {
        client_expect_answer(fds[i], 503, "the sidecar is stopping\n");
        close(fds[i]);
    }
    fixture_release(&f);
    pthread_join(stopper, NULL);
    f.api = NULL;
    for (int i = 0; i < 2; i++) {
        client_expect_answer(fds[i], 200, "{\"status\":\"ok\",");
        close(fds[i]);
    }
    ck_assert_uint_eq(f.n_questions, 2);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("api_explain");
    TCase *tcase = tcase_create("api_explain");
    tcase_add_checked_fixture(tcase, start, stop);
    tcase_set_timeout(tcase, 30);
    tcase_add_loop_test(tcase, explain, 0, sizeof(questions) / sizeof(questions[0]));
    tcase_add_test(tcase, under_default_allow);
    tcase_add_test(tcase, effective);
    tcase_add_test(tcase, leases);
    tcase_add_test(tcase, many_at_once);
    tcase_add_test(tcase, other_requests);
    tcase_add_test(tcase, the_token_guards_them);
    tcase_add_loop_test(tcase, the_end_waits_for_the_answer, 0, 2);
    tcase_add_test(tcase, the_loop_gets_two_questions_at_once);
    tcase_add_test(tcase, half_of_the_connections_may_ask_the_loop);
    tcase_add_test(tcase, the_end_refuses_those_whose_turn_has_not_come);
    suite_add_tcase(suite, tcase);
    return suite;
}
