/* What collectors' answers mean, row by row. */
#include "telemetry/base64.h"
#include "telemetry/otlp_answer.h"

#include "tests/unit/runner.h"

#include <stdio.h>
#include <string.h>

#define NOW 1795327200 /* 2026-11-22T06:00:00Z, a Sunday */

static struct http_post post;
static struct otlp_answer answer;

static void forget(void)
{
    for (size_t i = 0; i < HTTP_WANTED_MAX; i++)
        post.found[i] = NULL;
    buf_done(&post.answer);
    post = (struct http_post){.wanted = otlp_answer_headers};
}

static void set_header(const char *name, const char *value)
{
    for (size_t i = 0; otlp_answer_headers[i]; i++)
        if (!strcmp(otlp_answer_headers[i], name))
            post.found[i] = (char *)(uintptr_t)value;
}

/* An answer over HTTP with this status, body and Retry-After. */
static void read_http(unsigned status, const char *type, const char *body, size_t len, const char *retry_after)
{
    forget();
    post.status = status;
    set_header("content-type", type);
    set_header("retry-after", retry_after);
    buf_append(&post.answer, body, len);
    otlp_answer_read(OTLP_HTTP_PROTOBUF, &post, NOW, &answer);
}

static void read_grpc(unsigned status, const char *code, const char *details)
{
    forget();
    post.status = status;
    set_header("grpc-status", code);
    set_header("grpc-status-details-bin", details);
    otlp_answer_read(OTLP_GRPC, &post, NOW, &answer);
}

static void read_error(enum otlp_protocol protocol, enum http_error error, unsigned status)
{
    forget();
    post.error = error;
    post.status = status;
    snprintf(post.reason, sizeof(post.reason), "why");
    otlp_answer_read(protocol, &post, NOW, &answer);
}

START_TEST(http_statuses)
{
    for (unsigned status = 200; status < 600; status++) {
        bool passes = status == 429 || status == 502 || status == 503 || status == 504;
        read_http(status, NULL, "", 0, NULL);
        ck_assert_int_eq(answer.verdict, status < 300 ? OTLP_TAKEN : passes ? OTLP_RETRY : OTLP_REFUSED);
        ck_assert(answer.reached && !answer.rejected && !answer.retry_after_ms);
    }
}
END_TEST

START_TEST(retry_after)
{
    static const struct {
        const char *text;
        uint64_t ms;
    } rows[] = {
        {"0", 0},
        {"7", 7000},
        {"Sun, 22 Nov 2026 06:00:05 GMT", 5000},
        {"Sun, 22 Nov 2026 05:59:59 GMT", 0}, /* gone by */
        {"2147483647", 24ull * 3600 * 1000},
        {"99999999999", 0},
        {"-1", 0},
        {"soon", 0},
        {"1.5", 0},
        {"Sun, 22 Nov 2026 06:00:05 CET", 0},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        read_http(503, NULL, "", 0, rows[i].text);
        ck_assert_msg(answer.retry_after_ms == rows[i].ms, "%s: %lu", rows[i].text,
                      (unsigned long)answer.retry_after_ms);
    }
}
END_TEST

START_TEST(partial_success)
{
    /* ExportServiceResponse { partial_success 1 { rejected 1 = 5, error_message 2 = "odd" } } */
    read_http(200, "application/x-protobuf", "\x0a\x07\x08\x05\x12\x03odd", 9, NULL);
    ck_assert(answer.verdict == OTLP_TAKEN && answer.rejected == 5);
    ck_assert_str_eq(answer.message, "odd");
    read_http(200, "application/x-protobuf", "\x0a\x05\x12\x03odd", 7, NULL);
    ck_assert(answer.verdict == OTLP_TAKEN && answer.rejected == 0);
    ck_assert_str_eq(answer.message, "odd");
    /* Less than none were rejected. */
    read_http(200, NULL, "\x0a\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 13, NULL);
    ck_assert(answer.verdict == OTLP_TAKEN && answer.rejected == 0);
    static const char *const json[] = {
        "{\"partialSuccess\":{\"rejectedLogRecords\":\"5\",\"errorMessage\":\"odd\"}}",
        "{\"partialSuccess\":{\"rejectedDataPoints\":5,\"errorMessage\":\"odd\"}}",
    };
    for (size_t i = 0; i < 2; i++) {
        read_http(200, "application/json; charset=utf-8", json[i], strlen(json[i]), NULL);
        ck_assert(answer.verdict == OTLP_TAKEN && answer.rejected == 5);
        ck_assert_str_eq(answer.message, "odd");
    }
    read_http(200, "application/json", "{}", 2, NULL);
    ck_assert(answer.verdict == OTLP_TAKEN && !answer.rejected && !*answer.message);
    read_http(200, "application/json", "[1", 2, NULL);
    ck_assert(answer.verdict == OTLP_TAKEN && !answer.rejected && *answer.message);
    read_http(200, "text/html", "\xff\xff", 2, NULL);
    ck_assert(answer.verdict == OTLP_TAKEN && !answer.rejected && *answer.message);
}
END_TEST

START_TEST(what_errors_say)
{
    read_http(400, "application/x-protobuf", "\x08\x03\x12\x04no\x1b!", 8, NULL); /* Status { code 1, message 2 } */
    ck_assert_str_eq(answer.message, "HTTP status 400: no !");
    read_http(400, "application/json", "{\"message\":\"no\"}", 16, NULL);
    ck_assert_str_eq(answer.message, "HTTP status 400: no");
    read_http(500, "text/html", "<html>", 6, NULL);
    ck_assert_str_eq(answer.message, "HTTP status 500");
}
END_TEST

START_TEST(grpc_codes)
{
    for (unsigned code = 0; code < 20; code++) {
        char text[8];
        bool passes = code == 1 || code == 4 || code == 10 || code == 11 || code == 14 || code == 15;
        snprintf(text, sizeof(text), "%u", code);
        read_grpc(200, text, NULL);
        ck_assert_msg(answer.verdict == (!code ? OTLP_TAKEN : passes ? OTLP_RETRY : OTLP_REFUSED), "code %u", code);
    }
    /* Status { details 3 { type_url 1 "type.googleapis.com/google.rpc.RetryInfo", value 2 RetryInfo { 1 { 1: 3 } } } }
     */
    static const char details[] = "GjAKKHR5cGUuZ29vZ2xlYXBpcy5jb20vZ29vZ2xlLnJwYy5SZXRyeUluZm8SBAoCCAM=";
    read_grpc(200, "8", details);
    ck_assert(answer.verdict == OTLP_RETRY && answer.retry_after_ms == 3000);
    read_grpc(200, "8", "!!!!");
    ck_assert_int_eq(answer.verdict, OTLP_REFUSED);
    read_grpc(200, "3", details);
    ck_assert_int_eq(answer.verdict, OTLP_REFUSED);
    /* No gRPC status at all: HTTP 200 alone is no success. */
    read_grpc(200, NULL, NULL);
    ck_assert_int_eq(answer.verdict, OTLP_REFUSED);
    read_grpc(200, "abc", NULL);
    ck_assert_int_eq(answer.verdict, OTLP_REFUSED);
    read_grpc(503, NULL, NULL);
    ck_assert_int_eq(answer.verdict, OTLP_RETRY);
    read_grpc(404, NULL, NULL);
    ck_assert_int_eq(answer.verdict, OTLP_REFUSED);
}
END_TEST

START_TEST(grpc_messages)
{
    forget();
    post.status = 200;
    set_header("grpc-status", "0");
    buf_append(&post.answer, "\0\0\0\0\x09\x0a\x07\x08\x05\x12\x03odd", 14);
    otlp_answer_read(OTLP_GRPC, &post, NOW, &answer);
    ck_assert(answer.verdict == OTLP_TAKEN && answer.rejected == 5);
    post.answer.data[4] = 100; /* longer than what came */
    otlp_answer_read(OTLP_GRPC, &post, NOW, &answer);
    ck_assert(answer.verdict == OTLP_TAKEN && !answer.rejected && *answer.message);
}
END_TEST

START_TEST(connections_that_fail)
{
    for (enum otlp_protocol protocol = OTLP_HTTP_PROTOBUF; protocol <= OTLP_GRPC; protocol++) {
        read_error(protocol, HTTP_NOT_CONNECTED, 0);
        ck_assert(answer.verdict == OTLP_RETRY && !answer.reached);
        ck_assert_str_eq(answer.message, "why");
        read_error(protocol, HTTP_NO_ANSWER, 0);
        ck_assert(answer.verdict == OTLP_RETRY && !answer.reached);
        read_error(protocol, HTTP_TLS, 0);
        ck_assert(answer.verdict == OTLP_RETRY && !answer.reached);
        read_error(protocol, HTTP_TIMED_OUT, 0);
        ck_assert(answer.verdict == OTLP_RETRY && answer.reached);
        read_error(protocol, HTTP_TOO_LARGE, 200);
        ck_assert(answer.verdict == OTLP_REFUSED);
    }
    /* Broken in the middle of the answer: HTTP's status says it all, gRPC's is still to come. */
    read_error(OTLP_HTTP_PROTOBUF, HTTP_NO_ANSWER, 200);
    ck_assert_int_eq(answer.verdict, OTLP_TAKEN);
    read_error(OTLP_HTTP_PROTOBUF, HTTP_NO_ANSWER, 400);
    ck_assert_int_eq(answer.verdict, OTLP_REFUSED);
    read_error(OTLP_GRPC, HTTP_NO_ANSWER, 200);
    ck_assert_int_eq(answer.verdict, OTLP_RETRY);
}
END_TEST

START_TEST(base64)
{
    static const struct {
        const char *text, *bytes;
    } rows[] = {{"", ""}, {"Zg==", "f"}, {"Zg", "f"}, {"Zm8=", "fo"}, {"Zm9v", "foo"}, {"Zm9vYmFy", "foobar"}};
    uint8_t out[6];
    size_t len;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        ck_assert(base64_decode(rows[i].text, out, sizeof(out), &len));
        ck_assert_uint_eq(len, strlen(rows[i].bytes));
        ck_assert_mem_eq(out, rows[i].bytes, len);
    }
    ck_assert(!base64_decode("Z", out, sizeof(out), &len));
    ck_assert(!base64_decode("Zg!=", out, sizeof(out), &len));
    ck_assert(!base64_decode("Zm9vYmFyZg==", out, sizeof(out), &len)); /* longer than there is room for */
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("otlp_answer");
    TCase *tc = tcase_create("otlp_answer");
    tcase_add_checked_fixture(tc, forget, forget);
    tcase_add_test(tc, http_statuses);
    tcase_add_test(tc, retry_after);
    tcase_add_test(tc, partial_success);
    tcase_add_test(tc, what_errors_say);
    tcase_add_test(tc, grpc_codes);
    tcase_add_test(tc, grpc_messages);
    tcase_add_test(tc, connections_that_fail);
    tcase_add_test(tc, base64);
    suite_add_tcase(suite, tc);
    return suite;
}
