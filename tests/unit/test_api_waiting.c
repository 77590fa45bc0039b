/* Requests that wait for the loop's verdict: their order, what goes on meanwhile, clients that leave, and the stop. */
#include "api_fixture.h"
#include "runner.h"

#include "base/cleanup.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define ALLOW_ALL "{\"defaultAction\":\"allow\"}"

static struct fixture f;

static void start(void)
{
    fixture_start(&f, (struct api_settings){.request_timeout_ms = 300});
}

static void stop(void)
{
    fixture_stop(&f);
}

static void send_change(int fd, const char *method, const char *extra, const char *body)
{
    client_send(fd, method, "/policy", extra, body, strlen(body));
}

START_TEST(parallel_patches_all_land)
{
    enum { N = 50 };
    int fds[N];
    for (int i = 0; i < N; i++) {
        char body[128];
        snprintf(body, sizeof(body), "[{\"action\":\"allow\",\"target\":\"host%d.example\"}]", i);
        fds[i] = client_connect(&f);
        send_change(fds[i], "PATCH", NULL, body);
    }
    for (int i = 0; i < N; i++) {
        client_expect_answer(fds[i], 200, "{\"status\":\"ok\"");
        close(fds[i]);
    }
    struct answer answer = client_call(&f, "GET", "/policy", NULL, NULL);
    for (int i = 0; i < N; i++) {
        char target[64];
        snprintf(target, sizeof(target), "\"host%d.example\"", i);
        ck_assert_msg(strstr(answer.body.data, target) != NULL, "%s is lost", target);
    }
    buf_done(&answer.body);
    ck_assert_uint_eq(f.n_changes, N);
}
END_TEST

/* While the loop hangs over a change: health and GET are answered at once, changes wait, too many are refused, and
 * none of that is cut off by the deadline for requests. */
START_TEST(a_hanging_loop_holds_up_changes_only)
{
    enum { WAITING = 65 };
    int fds[WAITING];
    fixture_hold(&f);
    for (int i = 0; i < WAITING; i++) {
        fds[i] = client_connect(&f);
        send_change(fds[i], "PUT", NULL, ALLOW_ALL);
        if (i == 0)
            fixture_wait_changes(&f, 1);
    }
    _cleanup_close_ int one_more = client_connect(&f), silent = client_connect(&f);
    send_change(one_more, "PUT", NULL, "{}");
    client_expect_answer(one_more, 503, "too many policy changes at once\n");
    uint64_t slowest = 0;
    for (int i = 0; i < 20; i++) {
        uint64_t before = clock_monotonic_ns();
        client_expect(&f, "GET", "/healthz", NULL, 200, "ok");
        uint64_t took = clock_monotonic_ns() - before;
        slowest = took > slowest ? took : slowest;
    }
    ck_assert_uint_lt(slowest, 100 * NS_PER_MS);
    struct answer answer = client_call(&f, "GET", "/policy", NULL, NULL);
    ck_assert_ptr_nonnull(strstr(answer.body.data, "\"mode\":\"deny_all\""));
    buf_done(&answer.body);
    client_expect_end(silent); /* the deadline has passed */
    fixture_release(&f);
    for (int i = 0; i < WAITING; i++) {
        client_expect_answer(fds[i], 200, "{\"status\":\"ok\"");
        close(fds[i]);
    }
}
END_TEST

START_TEST(a_client_that_leaves_does_not_stop_its_change)
{
    fixture_hold(&f);
    int fd = client_connect(&f), waiting = client_connect(&f), other = client_connect(&f);
    send_change(fd, "PUT", NULL, ALLOW_ALL);
    fixture_wait_changes(&f, 1);
    send_change(waiting, "PATCH", NULL, "[" DENY("a.com") "]");
    send_change(other, "PATCH", NULL, "[" DENY("b.com") "]");
    if (_i) { /* a reset instead of a proper end */
        struct linger linger = {.l_onoff = 1};
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
        setsockopt(waiting, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    }
    client_expect(&f, "GET", "/healthz", NULL, 200, "ok");
    close(fd);
    close(waiting);
    fixture_release(&f);
    client_expect_answer(other, 200, "{\"status\":\"ok\"");
    close(other);
    struct answer answer = client_call(&f, "GET", "/policy", NULL, NULL);
    ck_assert_ptr_nonnull(strstr(answer.body.data, "\"defaultAction\":\"allow\""));
    ck_assert_ptr_nonnull(strstr(answer.body.data, "b.com"));
    buf_done(&answer.body);
}
END_TEST

/* The precondition is looked at when the turn comes, not when the request does. */
START_TEST(one_of_two_conditional_changes_wins)
{
    struct answer answer = client_call(&f, "GET", "/policy", NULL, NULL);
    _cleanup_free_ char *etag = answer_header(&answer, "ETag");
    buf_done(&answer.body);
    char condition[96];
    snprintf(condition, sizeof(condition), "If-Match: %s\r\n", etag);
    _cleanup_close_ int first = client_connect(&f), second = client_connect(&f);
    fixture_hold(&f);
    send_change(first, "PATCH", condition, "[" DENY("a.com") "]");
    fixture_wait_changes(&f, 1);
    send_change(second, "PATCH", condition, "[" DENY("b.com") "]");
    client_expect(&f, "GET", "/healthz", NULL, 200, "ok");
    fixture_release(&f);
    client_expect_answer(first, 200, "{\"status\":\"ok\"");
    client_expect_answer(second, 412, "");
    fixture_expect_policy(&f, POLICY_BODY("enforcing", DENY("a.com"), "deny"));
}
END_TEST

/* Connections are refused, or soon are. */
static void expect_no_new_connections(void)
{
    struct sockaddr_in sin = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(f.port)};
    uint64_t limit = clock_monotonic_ns() + 10 * NS_PER_S;
    int error = 0;
    while (error != ECONNREFUSED && clock_monotonic_ns() < limit) {
        _cleanup_close_ int late = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        error = connect(late, (struct sockaddr *)&sin, sizeof(sin)) ? errno : 0;
    }
    ck_assert_int_eq(error, ECONNREFUSED);
}

static void *stop_soon(void *arg)
{
    api_stop(f.api, 50);
    return NULL;
}

/* The change the loop has is waited for, those behind it are told; nobody is left without an answer. */
START_TEST(stop_with_suspended_connections)
{
    fixture_hold(&f);
    int first = client_connect(&f), second = client_connect(&f);
    send_change(first, "PUT", NULL, ALLOW_ALL);
    fixture_wait_changes(&f, 1);
    send_change(second, "PUT", NULL, "{}");
    pthread_t stopper;
    client_expect(&f, "GET", "/healthz", NULL, 200, "ok"); /* the second is in the queue by now */
    ck_assert_int_eq(pthread_create(&stopper, NULL, stop_soon, NULL), 0);
    client_expect_answer(second, 503, "the sidecar is stopping\n");
    expect_no_new_connections();
    fixture_release(&f);
    client_expect_answer(first, 200, "{\"status\":\"ok\",\"mode\":\"allow_all\"");
    pthread_join(stopper, NULL);
    f.api = NULL;
    client_expect_end(first);
    close(first);
    close(second);
}
END_TEST

START_TEST(stop_does_not_wait_for_the_idle_nor_long_for_the_slow)
{
    fixture_stop(&f);
    fixture_start(&f, (struct api_settings){0});
    _cleanup_close_ int idle = client_connect(&f), slow = client_connect(&f);
    client_send(idle, "GET", "/healthz", NULL, NULL, 0);
    client_expect_answer(idle, 200, "ok");
    uint64_t before = clock_monotonic_ns();
    if (_i) {
        client_send(slow, "PUT", "/policy", "Content-Length: 5\r\n", NULL, 0);
        client_expect(&f, "GET", "/healthz", NULL, 200, "ok");
    }
    api_stop(f.api, _i ? 100 : 10000);
    f.api = NULL;
    ck_assert_uint_lt(clock_monotonic_ns() - before, 5 * NS_PER_S);
    client_expect_end(idle);
    client_expect_end(slow);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("api_waiting");
    TCase *tcase = tcase_create("api_waiting");
    tcase_add_checked_fixture(tcase, start, stop);
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, parallel_patches_all_land);
    tcase_add_test(tcase, a_hanging_loop_holds_up_changes_only);
    tcase_add_loop_test(tcase, a_client_that_leaves_does_not_stop_its_change, 0, 2);
    tcase_add_test(tcase, one_of_two_conditional_changes_wins);
    tcase_add_test(tcase, stop_with_suspended_connections);
    tcase_add_loop_test(tcase, stop_does_not_wait_for_the_idle_nor_long_for_the_slow, 0, 2);
    suite_add_tcase(suite, tcase);
    return suite;
}
