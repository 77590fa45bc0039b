/* GET /metrics, and what the API counts about itself. */
#include "api_fixture.h"
#include "runner.h"

#include "base/cleanup.h"

#include <string.h>

static struct fixture f;
static struct recent *recent;

static void start(void)
{
    ck_assert_int_eq(recent_new(NULL, 0, &recent), 0);
    fixture_start(&f, (struct api_settings){.token = "s3cret", .recent = recent});
}

static void stop(void)
{
    fixture_stop(&f);
    recent_free(recent);
}

static void expect(const char *method, const char *accept, const char *type, const char *body)
{
    struct answer answer = client_call(&f, method, "/metrics", accept, NULL);
    _cleanup_free_ char *got = answer_header(&answer, "Content-Type");
    ck_assert_int_eq(answer.status, 200);
    ck_assert_str_eq(got, type);
    ck_assert_str_eq(answer.body.len ? answer.body.data : "", body);
    buf_done(&answer.body);
}

START_TEST(the_format_is_the_clients_choice)
{
    static const char text[] = "text/plain; version=0.0.4; charset=utf-8";
    static const char openmetrics[] = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    expect("GET", NULL, text, "text\n");
    expect("GET", "Accept: text/plain\r\n", text, "text\n");
    expect("GET", "Accept: application/openmetrics-text\r\n", openmetrics, "openmetrics\n");
    expect("HEAD", NULL, text, "");
    expect("HEAD", "Accept: application/openmetrics-text\r\n", openmetrics, "");
    fixture_expect_log(&f, "DEBUG - api request http.request.method=GET http.route=/metrics", true);
}
END_TEST

START_TEST(other_methods_are_refused)
{
    struct answer answer = client_call(&f, "POST", "/metrics", NULL, "x");
    _cleanup_free_ char *allow = answer_header(&answer, "Allow");
    ck_assert_int_eq(answer.status, 405);
    ck_assert_str_eq(allow, "GET, HEAD");
    buf_done(&answer.body);
}
END_TEST

/* How many requests were counted so. */
static uint64_t counted(const char *method, const char *route, unsigned status)
{
    struct request_streams *streams = &f.metrics->api_requests;
    for (uint32_t i = 0; i < request_streams_count(streams); i++) {
        struct request_stream *stream = &streams->list[i];
        if (!strcmp(stream->method, method) && !strcmp(stream->route, route) && stream->status == status)
            return histogram_take(&stream->duration)->count;
    }
    return 0;
}

START_TEST(requests_are_counted_by_method_route_and_status)
{
    for (int i = 0; i < 3; i++)
        client_expect(&f, "GET", "/healthz", NULL, 200, "ok");
    client_expect(&f, "GET", "/policy?x=1", NULL, 401, "unauthorized\n");
    client_expect(&f, "GET", "/a", NULL, 404, "not found\n");
    client_expect(&f, "GET", "/b", NULL, 404, "not found\n");
    client_expect(&f, "GET", "/credential-vault/secret", NULL, 401, "unauthorized\n");
    client_expect(&f, "BREW", "/healthz", NULL, 405, "method not allowed\n");
    client_expect(&f, "BREAK", "/healthz", NULL, 405, "method not allowed\n");
    ck_assert_uint_eq(counted("GET", "/healthz", 200), 3);
    ck_assert_uint_eq(counted("GET", "/policy", 401), 1);
    ck_assert_uint_eq(counted("GET", "other", 404), 2);
    ck_assert_uint_eq(counted("GET", "/credential-vault", 401), 1);
    ck_assert_uint_eq(counted("_OTHER", "/healthz", 405), 2);
    ck_assert_uint_eq(request_streams_count(&f.metrics->api_requests), 5);
}
END_TEST

/* Else an application could hide the requests of others among what found the table full. */
START_TEST(no_client_fills_the_table)
{
    static const char *const paths[] = {"/",
                                        "/healthz",
                                        "/metrics",
                                        "/policy",
                                        "/policy/explain",
                                        "/policy/effective",
                                        "/policy/suggested",
                                        "/events",
                                        "/credential-vault/_active",
                                        "/credential-vault",
                                        "/x"};
    static const char *const methods[] = {"GET",    "HEAD",    "POST",    "PUT",   "PATCH",
                                          "DELETE", "OPTIONS", "CONNECT", "TRACE", "BREW"};
    static const char *const extras[] = {"", "OPENSANDBOX-EGRESS-AUTH: s3cret\r\n", "Content-Length: 0\r\n"};
    for (size_t p = 0; p < sizeof(paths) / sizeof(paths[0]); p++)
        for (size_t m = 0; m < 10; m++)
            for (size_t e = 0; e < 3; e++) {
                struct answer answer = client_call(&f, methods[m], paths[p], extras[e], "x");
                buf_done(&answer.body);
                _cleanup_close_ int fd = client_connect(&f); /* and one that goes away in the middle */
                client_send_raw(fd, methods[m], strlen(methods[m]));
                client_send_raw(fd, " ", 1);
                client_send_raw(fd, paths[p], strlen(paths[p]));
                static const char rest[] = " HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n";
                client_send_raw(fd, rest, strlen(rest));
            }
    uint32_t n = request_streams_count(&f.metrics->api_requests);
    ck_assert_msg(n > 100 && n < REQUEST_STREAMS * 3 / 4, "%u", n);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("api_metrics");
    TCase *tcase = tcase_create("api_metrics");
    tcase_add_checked_fixture(tcase, start, stop);
    tcase_add_test(tcase, the_format_is_the_clients_choice);
    tcase_add_test(tcase, other_methods_are_refused);
    tcase_add_test(tcase, requests_are_counted_by_method_route_and_status);
    tcase_add_test(tcase, no_client_fills_the_table);
    suite_add_tcase(suite, tcase);
    return suite;
}
