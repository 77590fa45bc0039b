/* How the API behaves under clients that send too much, too slowly or in doubtful forms. */
#include "api_fixture.h"
#include "runner.h"

#include "api/connection.h"
#include "base/cleanup.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define MIB (1u << 20)
#define TIMEOUT_MS 300

static struct fixture f;

static void start(void)
{
    fixture_start(&f, (struct api_settings){.request_timeout_ms = TIMEOUT_MS});
}

static void stop(void)
{
    fixture_stop(&f);
}

/* `{}` and blanks up to `len` octets. */
static void padded_body(struct buf *ret, size_t len)
{
    buf_puts(ret, "{}");
    while (ret->len < len)
        buf_append(ret, "                                ", len - ret->len < 32 ? len - ret->len : 32);
}

static void send_chunked(int fd, const struct buf *body)
{
    static const char head[] = "PUT /policy HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n";
    client_send_raw(fd, head, strlen(head));
    for (size_t at = 0; at < body->len; at += 10000) {
        size_t len = body->len - at < 10000 ? body->len - at : 10000;
        char size[16];
        client_send_raw(fd, size, (size_t)snprintf(size, sizeof(size), "%zx\r\n", len));
        client_send_raw(fd, body->data + at, len);
        client_send_raw(fd, "\r\n", 2);
    }
    client_send_raw(fd, "0\r\n\r\n", 5);
}

/* 1 MiB is taken, one octet more is not, whether the length is declared or not; the connection stays usable. */
START_TEST(body_limit)
{
    for (unsigned over = 0; over < 2; over++)
        for (unsigned chunked = 0; chunked < 2; chunked++) {
            _cleanup_buf_ struct buf body = {0};
            padded_body(&body, MIB + over);
            _cleanup_close_ int fd = client_connect(&f);
            if (chunked)
                send_chunked(fd, &body);
            else
                client_send(fd, "PUT", "/policy", NULL, body.data, body.len);
            client_expect_answer(fd, over ? 413 : 200,
                                 over ? "request body exceeds 1048576 bytes\n" : "{\"status\":\"ok\"");
            client_send(fd, "GET", "/healthz", NULL, NULL, 0);
            client_expect_answer(fd, 200, "ok");
        }
    ck_assert_uint_eq(f.n_changes, 2);
}
END_TEST

/* A client that asks first, or that announces far too much, hears 413 at once; one that sends without end is cut off.
 */
START_TEST(oversized_body_is_not_read)
{
    static const char *const announced[] = {
        "PUT /policy HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 1048577\r\n\r\n",
        "PUT /policy HTTP/1.1\r\nHost: test\r\nContent-Length: 9000000\r\n\r\n",
    };
    for (size_t i = 0; i < 2; i++) {
        _cleanup_close_ int fd = client_connect(&f);
        client_send_raw(fd, announced[i], strlen(announced[i]));
        client_expect_answer(fd, 413, "request body exceeds 1048576 bytes\n");
        client_expect_end(fd);
    }

    _cleanup_close_ int endless = client_connect(&f);
    static const char head[] = "PUT /nowhere HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n";
    client_send_raw(endless, head, strlen(head));
    static char chunk[65536 + 16];
    int n = sprintf(chunk, "%x\r\n", 65536);
    memset(chunk + n, 'x', 65536);
    memcpy(chunk + n + 65536, "\r\n", 2);
    unsigned sent = 0;
    while (sent < 1024 && send(endless, chunk, (size_t)n + 65538, MSG_NOSIGNAL) > 0)
        sent++;
    ck_assert_uint_lt(sent, 1024);
}
END_TEST

START_TEST(asking_first_is_answered_with_continue)
{
    _cleanup_close_ int fd = client_connect(&f);
    static const char asks[] =
        "PUT /policy HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    client_send_raw(fd, asks, strlen(asks));
    char head[64] = "";
    ck_assert_int_gt(recv(fd, head, sizeof(head) - 1, 0), 0);
    ck_assert_msg(strncmp(head, "HTTP/1.1 100", 12) == 0, "%s", head);
    client_send_raw(fd, "{}", 2);
    client_expect_answer(fd, 200, "{\"status\":\"ok\"");
}
END_TEST

static const char *const ambiguous[] = {
    "Content-Length: 2\r\nContent-Length: 2\r\n",
    "Content-Length: 2\r\nContent-Length: 30\r\n",
    "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
    "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n",
    "Transfer-Encoding: gzip, chunked\r\n",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
    "Content-Length: 2x\r\n",
    "Content-Length: -2\r\n",
    "Content-Length: 99999999999999999999\r\n",
};

START_TEST(ambiguous_framing_is_refused)
{
    _cleanup_close_ int fd = client_connect(&f);
    char text[256];
    int len = snprintf(text, sizeof(text),
                       "PUT /policy HTTP/1.1\r\nHost: test\r\n%s\r\n{}GET /healthz HTTP/1.1\r\nHost: t\r\n\r\n",
                       ambiguous[_i]);
    client_send_raw(fd, text, (size_t)len);
    _cleanup_buf_ struct buf all = {0};
    char piece[512];
    for (ssize_t n; (n = recv(fd, piece, sizeof(piece), 0)) > 0;)
        buf_append(&all, piece, (size_t)n);
    ck_assert_msg(strncmp(all.data, "HTTP/1.1 4", 10) == 0, "%s", all.data);
    ck_assert_ptr_null(strstr(all.data, "HTTP/1.1 200")); /* nothing after it is taken for a request */
    ck_assert_uint_eq(f.n_changes, 0);
}
END_TEST

START_TEST(pipelined_requests_are_answered_in_order)
{
    _cleanup_close_ int fd = client_connect(&f);
    static const char both[] =
        "GET /healthz HTTP/1.1\r\nHost: t\r\n\r\n"
        "PUT /policy HTTP/1.1\r\nHost: t\r\nContent-Length: 25\r\n\r\n{\"defaultAction\":\"allow\"}"
        "GET /policy HTTP/1.1\r\nHost: t\r\n\r\n"
        "GET /nowhere HTTP/1.1\r\nHost: t\r\n\r\n";
    client_send_raw(fd, both, strlen(both));
    client_expect_answer(fd, 200, "ok");
    client_expect_answer(fd, 200, "{\"status\":\"ok\",\"mode\":\"allow_all\"");
    client_expect_answer(fd, 200, "{\"status\":\"ok\",\"mode\":\"allow_all\"");
    client_expect_answer(fd, 404, "not found\n");
}
END_TEST

/* A byte now and then does not keep a connection: in the headers, in the body, and in a body nobody wants. */
START_TEST(slow_requests_are_cut_off)
{
    static const char *const beginnings[] = {
        "GET /healthz HTTP/1.1\r\nX-Slow: ",
        "PUT /policy HTTP/1.1\r\nHost: t\r\nContent-Length: 100000\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: t\r\nContent-Length: 100000\r\n\r\n",
    };
    _cleanup_close_ int fd = client_connect(&f);
    client_send_raw(fd, beginnings[_i], strlen(beginnings[_i]));
    uint64_t before = clock_monotonic_ns();
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    while (poll(&poll_fd, 1, 20) == 0 && clock_monotonic_ns() - before < 20 * NS_PER_S)
        client_send_raw(fd, "x", 1);
    client_expect_end(fd);
    uint64_t took = clock_monotonic_ns() - before;
    ck_assert_uint_ge(took, TIMEOUT_MS * NS_PER_MS - NS_PER_MS);
    ck_assert_uint_lt(took, 10 * TIMEOUT_MS * NS_PER_MS);
    ck_assert_uint_eq(f.n_changes, 0);
}
END_TEST

START_TEST(bodies_in_memory_are_bounded)
{
    enum { N = 17 };
    int fds[N];
    _cleanup_buf_ struct buf body = {0};
    padded_body(&body, MIB);
    fixture_stop(&f);
    fixture_start(&f, (struct api_settings){0});
    fixture_hold(&f);
    unsigned refused = 0;
    for (int i = 0; i < N; i++) {
        fds[i] = client_connect(&f);
        client_send(fds[i], "PUT", "/policy", NULL, body.data, body.len);
    }
    fixture_wait_changes(&f, 1);
    struct pollfd waiting[N];
    for (int i = 0; i < N; i++)
        waiting[i] = (struct pollfd){.fd = fds[i], .events = POLLIN};
    ck_assert_int_eq(poll(waiting, N, 5000), 1); /* only the one too many is answered */
    fixture_release(&f);
    for (int i = 0; i < N; i++) {
        struct answer answer = client_read(fds[i], false);
        refused += answer.status == 503;
        buf_done(&answer.body);
        close(fds[i]);
    }
    ck_assert_uint_eq(refused, 1);
    client_expect(&f, "PUT", "/policy", body.data, 200,
                  "{\"status\":\"ok\",\"mode\":\"deny_all\",\"enforcementMode\":\"dns+nft\"}\n");
}
END_TEST

static void ask_for_health(int fd)
{
    client_send(fd, "GET", "/healthz", NULL, NULL, 0);
    client_expect_answer(fd, 200, "ok");
}

/* One client too many gets the place of the one that was silent for longest, and that is counted. */
START_TEST(connections_are_bounded)
{
    int fds[CONNECTIONS_DEFAULT];
    fixture_stop(&f);
    fixture_start(&f, (struct api_settings){0});
    for (int i = 0; i < CONNECTIONS_DEFAULT; i++) {
        fds[i] = client_connect(&f);
        ask_for_health(fds[i]);
    }
    ask_for_health(fds[0]);
    uint64_t before = metric_get(f.metrics, METRIC_API_LIMITED);
    _cleanup_close_ int late = client_connect(&f), later = client_connect(&f);
    ask_for_health(late);
    ask_for_health(later);
    client_expect_end(fds[1]);
    client_expect_end(fds[2]);
    ask_for_health(fds[0]);
    ask_for_health(fds[3]);
    ck_assert_uint_eq(metric_get(f.metrics, METRIC_API_LIMITED) - before, 2);
    for (int i = 0; i < CONNECTIONS_DEFAULT; i++)
        close(fds[i]);
}
END_TEST

/* Clients that come and go as fast as they can find room every time, and nothing is kept of those that left. */
START_TEST(connections_come_and_go)
{
    for (int round = 0; round < 20; round++) {
        int fds[CONNECTIONS_DEFAULT + 20];
        for (int i = 0; i < CONNECTIONS_DEFAULT + 20; i++)
            fds[i] = client_connect(&f);
        ask_for_health(fds[CONNECTIONS_DEFAULT + 19]);
        for (int i = 0; i < CONNECTIONS_DEFAULT + 20; i++)
            close(fds[i]);
        client_expect(&f, "GET", "/healthz", NULL, 200, "ok");
    }
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("api_server");
    TCase *tcase = tcase_create("api_server");
    tcase_add_checked_fixture(tcase, start, stop);
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, body_limit);
    tcase_add_test(tcase, oversized_body_is_not_read);
    tcase_add_test(tcase, asking_first_is_answered_with_continue);
    tcase_add_loop_test(tcase, ambiguous_framing_is_refused, 0, sizeof(ambiguous) / sizeof(ambiguous[0]));
    tcase_add_test(tcase, pipelined_requests_are_answered_in_order);
    tcase_add_loop_test(tcase, slow_requests_are_cut_off, 0, 3);
    tcase_add_test(tcase, bodies_in_memory_are_bounded);
    tcase_add_test(tcase, connections_are_bounded);
    tcase_add_test(tcase, connections_come_and_go);
    suite_add_tcase(suite, tcase);
    return suite;
}
