/* HTTP posts against a server of our own in another thread, with names that a fake loop resolves. */
#include "telemetry/http.h"
#include "tests/unit/runner.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define ANSWER "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nRetry-After:  7 \r\n\r\nok"

/* --- a server that says one thing to everyone --- */

static int listener = -1;
static uint16_t port = 9;  /* nobody, until there is a server */
static const char *answer; /* NULL: none, the connection stays open */
static bool close_after;   /* each answer */
static atomic_int connections, requests;
static char received[1 << 16]; /* the latest request */
static pthread_t server;
static int clients[64];

static bool is_whole(const char *text)
{
    const char *length = strcasestr(text, "content-length:"), *end = strstr(text, "\r\n\r\n");
    return end && length && strlen(end + 4) >= (size_t)atoi(length + 15);
}

static void *serve_one(void *arg)
{
    int fd = (int)(intptr_t)arg;
    char text[sizeof(received)];
    size_t len = 0;
    ssize_t n;
    while ((n = recv(fd, text + len, sizeof(text) - 1 - len, 0)) > 0) {
        text[len += (size_t)n] = '\0';
        if (!is_whole(text))
            continue;
        memcpy(received, text, len + 1);
        requests++;
        len = 0;
        if (answer && send(fd, answer, strlen(answer), MSG_NOSIGNAL) >= 0 && close_after)
            shutdown(fd, SHUT_WR);
        if (close_after)
            break;
    }
    return NULL;
}

static void *serve(void *arg)
{
    pthread_t threads[64];
    int n = 0, fd;
    while (n < 64 && (fd = accept(listener, NULL, NULL)) >= 0) {
        clients[n] = fd;
        connections++;
        pthread_create(&threads[n++], NULL, serve_one, (void *)(intptr_t)fd);
    }
    for (int i = 0; i < n; i++) {
        shutdown(clients[i], SHUT_RDWR);
        pthread_join(threads[i], NULL);
        close(clients[i]);
    }
    return NULL;
}

static void start_server(const char *text)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(addr);
    answer = text;
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(listener, (struct sockaddr *)&addr, len), 0);
    ck_assert_int_eq(getsockname(listener, (struct sockaddr *)&addr, &len), 0);
    ck_assert_int_eq(listen(listener, 64), 0);
    port = ntohs(addr.sin_port);
    ck_assert_int_eq(pthread_create(&server, NULL, serve, NULL), 0);
}

static void stop_server(void)
{
    if (listener < 0)
        return;
    shutdown(listener, SHUT_RDWR);
    pthread_join(server, NULL);
    close(listener);
    listener = -1;
}

/* --- names --- */

static struct lookup *asked; /* the latest */
static int lookups;
static bool answers_at_once = true;
static const char *name_error;
static uint32_t name_ttl;

static void answer_lookup(void)
{
    struct lookup *lookup = asked;
    lookup->error = name_error;
    lookup->ttl = name_ttl;
    ck_assert_int_eq(ip_parse("127.0.0.1", &lookup->addrs[0]), 0);
    lookup->n = 1;
    lookup->answered(lookup);
}

static void look_up(void *ctx, struct lookup *lookup)
{
    asked = lookup;
    lookups++;
    if (answers_at_once)
        answer_lookup();
}

/* --- posts --- */

static struct http *http;
static int wake_fd;
static int ended;
static char url[128];

static const char *const headers[] = {"Content-Type: text/x-test", NULL};
static const char *const wanted[] = {"retry-after", "grpc-status", NULL};

static void done(struct http_post *post)
{
    ended++;
}

static struct http_post make_post(const char *host)
{
    snprintf(url, sizeof(url), "http://%s:%u/path", host, port);
    return (struct http_post){.url = url,
                              .headers = headers,
                              .body = "body",
                              .body_len = 4,
                              .timeout_ms = 10000,
                              .answer_max = 1000,
                              .user_agent = "test/1",
                              .wanted = wanted,
                              .done = done};
}

static void run_until(int n)
{
    while (ended < n) {
        http_step(http);
        if (ended < n)
            http_wait(http, 10000);
    }
}

static void send_and_wait(struct http_post *post)
{
    ck_assert_int_eq(http_post_start(http, post), 0);
    run_until(ended + 1);
}

static void setup(void)
{
    signal(SIGPIPE, SIG_IGN);
    wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    struct http_settings settings = {.names = {.look_up = look_up}, .wake_fd = wake_fd};
    ck_assert_int_eq(http_new(&settings, &http), 0);
    ck_assert_int_eq(http_load(http, NULL), 0);
}

static void teardown(void)
{
    http_free(http);
    close(wake_fd);
    stop_server();
}

START_TEST(request_and_answer)
{
    start_server(ANSWER);
    struct http_post post = make_post("127.0.0.1");
    send_and_wait(&post);
    ck_assert_msg(post.error == HTTP_OK, "%s", post.reason);
    ck_assert_uint_eq(post.status, 200);
    ck_assert_uint_eq(post.answer.len, 2);
    ck_assert_str_eq(post.answer.data, "ok");
    ck_assert_str_eq(http_post_header(&post, "retry-after"), "7");
    ck_assert_ptr_null(http_post_header(&post, "grpc-status"));
    ck_assert(strstr(received, "POST /path HTTP/1.1\r\n") == received);
    ck_assert_ptr_nonnull(strstr(received, "Content-Type: text/x-test\r\n"));
    ck_assert_ptr_nonnull(strstr(received, "User-Agent: test/1\r\n"));
    ck_assert_ptr_null(strcasestr(received, "expect:"));
    ck_assert_str_eq(strstr(received, "\r\n\r\n"), "\r\n\r\nbody");
    ck_assert_int_eq(lookups, 0);
    http_post_clear(&post);
}
END_TEST

START_TEST(connections_are_kept_unless_not_wanted)
{
    start_server(ANSWER);
    struct http_post post = make_post("127.0.0.1");
    for (int i = 0; i < 3; i++)
        send_and_wait(&post);
    ck_assert_int_eq(connections, 1);
    post.fresh_connect = true;
    send_and_wait(&post);
    send_and_wait(&post);
    ck_assert_int_eq(connections, 3);
    http_post_clear(&post);
}
END_TEST

START_TEST(trailers_are_headers)
{
    start_server("HTTP/1.1 100 Continue\r\nRetry-After: 1\r\n\r\n"
                 "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: Grpc-Status\r\n\r\n"
                 "2\r\nok\r\n0\r\nGrpc-Status: 14\r\n\r\n");
    struct http_post post = make_post("127.0.0.1");
    send_and_wait(&post);
    ck_assert_uint_eq(post.status, 200);
    ck_assert_str_eq(http_post_header(&post, "grpc-status"), "14");
    ck_assert_ptr_null(http_post_header(&post, "retry-after")); /* of an interim answer */
    http_post_clear(&post);
}
END_TEST

START_TEST(redirects_are_not_followed)
{
    start_server("HTTP/1.1 302 Found\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n");
    struct http_post post = make_post("127.0.0.1");
    send_and_wait(&post);
    ck_assert_int_eq(post.error, HTTP_OK);
    ck_assert_uint_eq(post.status, 302);
    ck_assert_int_eq(requests, 1);
    http_post_clear(&post);
}
END_TEST

START_TEST(no_proxy_of_the_environment)
{
    setenv("http_proxy", "http://127.0.0.1:9", 1);
    setenv("all_proxy", "http://127.0.0.1:9", 1);
    start_server(ANSWER);
    struct http_post post = make_post("127.0.0.1");
    send_and_wait(&post);
    ck_assert_msg(post.error == HTTP_OK, "%s", post.reason);
    http_post_clear(&post);
}
END_TEST

START_TEST(failures_are_told_apart)
{
    start_server("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nonly");
    close_after = true;
    struct http_post post = make_post("127.0.0.1");
    send_and_wait(&post);
    ck_assert_int_eq(post.error, HTTP_NO_ANSWER);
    post.answer_max = 3;
    send_and_wait(&post);
    ck_assert_int_eq(post.error, HTTP_TOO_LARGE);
    ck_assert_uint_eq(post.status, 200);
    close_after = false;
    answer = NULL;
    post.timeout_ms = 100;
    send_and_wait(&post);
    ck_assert_int_eq(post.error, HTTP_TIMED_OUT);
    ck_assert_uint_eq(post.status, 0);
    post.timeout_ms = 10000;
    stop_server();
    send_and_wait(&post);
    ck_assert_int_eq(post.error, HTTP_NOT_CONNECTED);
    ck_assert_uint_gt(strlen(post.reason), 0);
    http_post_clear(&post);
}
END_TEST

START_TEST(tls_failures_are_told_apart)
{
    start_server("this is no TLS\n");
    struct http_post post = make_post("127.0.0.1");
    snprintf(url, sizeof(url), "https://127.0.0.1:%u/", port);
    post.ca = "/nowhere/ca.pem";
    send_and_wait(&post);
    ck_assert_int_eq(post.error, HTTP_TLS);
    http_post_clear(&post);
}
END_TEST

START_TEST(endless_headers_end)
{
    static char text[100 << 10];
    size_t len = (size_t)sprintf(text, "HTTP/1.1 200 OK\r\n");
    while (len < sizeof(text) - 100)
        len += (size_t)sprintf(text + len, "x: %050d\r\n", 0);
    start_server(text);
    struct http_post post = make_post("127.0.0.1");
    send_and_wait(&post);
    ck_assert_int_eq(post.error, HTTP_TOO_LARGE);
    http_post_clear(&post);
}
END_TEST

START_TEST(names_are_asked_for_once_as_long_as_they_last)
{
    start_server(ANSWER);
    name_ttl = 60;
    struct http_post post = make_post("collector.example.");
    send_and_wait(&post);
    ck_assert_msg(post.error == HTTP_OK, "%s", post.reason);
    post.fresh_connect = true;
    send_and_wait(&post);
    ck_assert_int_eq(connections, 2);
    ck_assert_int_eq(lookups, 1);
    ck_assert_ptr_nonnull(strstr(received, "Host: collector.example."));
    /* Nobody there any more: they may live elsewhere. */
    stop_server();
    send_and_wait(&post);
    ck_assert_int_eq(post.error, HTTP_NOT_CONNECTED);
    send_and_wait(&post);
    ck_assert_int_eq(lookups, 2);
    http_post_clear(&post);
}
END_TEST

START_TEST(a_name_without_address_is_a_failed_connection)
{
    name_error = "no such name";
    struct http_post post = make_post("collector.example");
    send_and_wait(&post);
    ck_assert_int_eq(post.error, HTTP_NOT_CONNECTED);
    ck_assert_str_eq(post.reason, "collector.example: no such name");
    http_post_clear(&post);
}
END_TEST

START_TEST(posts_that_wait_for_the_same_name_share_a_lookup)
{
    start_server(ANSWER);
    answers_at_once = false;
    struct http_post posts[4];
    for (int i = 0; i < 4; i++) {
        posts[i] = make_post("collector.example");
        ck_assert_int_eq(http_post_start(http, &posts[i]), 0);
    }
    http_step(http);
    ck_assert_int_eq(lookups, 1);
    ck_assert_uint_eq(http_busy(http), 4);
    http_post_cancel(http, &posts[3]);
    answer_lookup();
    run_until(3);
    for (int i = 0; i < 3; i++)
        ck_assert_uint_eq(posts[i].status, 200);
    ck_assert_int_eq(ended, 3);
    ck_assert_uint_eq(http_busy(http), 0);
    for (int i = 0; i < 4; i++)
        http_post_clear(&posts[i]);
}
END_TEST

START_TEST(the_time_is_over_while_a_name_is_looked_up)
{
    answers_at_once = false;
    struct http_post post = make_post("collector.example");
    post.timeout_ms = 50;
    send_and_wait(&post);
    ck_assert_int_eq(post.error, HTTP_NOT_CONNECTED);
    ck_assert_str_eq(post.reason, "collector.example: the lookup took too long");
    http_post_clear(&post);
}
END_TEST

START_TEST(what_is_under_way_can_be_cancelled)
{
    start_server(NULL);
    struct http_post post = make_post("127.0.0.1");
    ck_assert_int_eq(http_post_start(http, &post), 0);
    while (!requests) {
        http_step(http);
        http_wait(http, 10);
    }
    http_post_cancel(http, &post);
    ck_assert_uint_eq(http_busy(http), 0);
    http_step(http);
    ck_assert_int_eq(ended, 0);
    /* And what is under way at the end is cancelled by it. */
    ck_assert_int_eq(http_post_start(http, &post), 0);
    http_step(http);
    http_free(http);
    http = NULL;
    ck_assert_int_eq(ended, 0);
}
END_TEST

START_TEST(what_is_no_url_does_not_start)
{
    struct http_post post = make_post("127.0.0.1");
    post.url = "ftp://127.0.0.1/";
    ck_assert_int_eq(http_post_start(http, &post), -EINVAL);
    ck_assert_uint_eq(http_busy(http), 0);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("http");
    TCase *tc = tcase_create("http");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, request_and_answer);
    tcase_add_test(tc, connections_are_kept_unless_not_wanted);
    tcase_add_test(tc, trailers_are_headers);
    tcase_add_test(tc, redirects_are_not_followed);
    tcase_add_test(tc, no_proxy_of_the_environment);
    tcase_add_test(tc, failures_are_told_apart);
    tcase_add_test(tc, tls_failures_are_told_apart);
    tcase_add_test(tc, endless_headers_end);
    tcase_add_test(tc, names_are_asked_for_once_as_long_as_they_last);
    tcase_add_test(tc, a_name_without_address_is_a_failed_connection);
    tcase_add_test(tc, posts_that_wait_for_the_same_name_share_a_lookup);
    tcase_add_test(tc, the_time_is_over_while_a_name_is_looked_up);
    tcase_add_test(tc, what_is_under_way_can_be_cancelled);
    tcase_add_test(tc, what_is_no_url_does_not_start);
    suite_add_tcase(suite, tc);
    return suite;
}
