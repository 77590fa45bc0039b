/* What the webhook counts, against a server of one thread that answers every connection once. */
#include "base/loop.h"
#include "telemetry/webhook.h"
#include "tests/unit/runner.h"

#include <arpa/inet.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define QUEUE 256

static const uint8_t name[] = "\x01"
                              "A"
                              "\x04"
                              "te\"t";

static int listener, wake_fd;
static pthread_t server;
static const char *status = "200 OK";
static char body[1024]; /* the latest that came */
static char url[64];
static struct http *http;
static struct webhook *webhook;
static struct log *log_queue;
static struct metrics metrics;

static void *serve(void *arg)
{
    char text[4096], answer[128];
    for (int fd; (fd = accept(listener, NULL, NULL)) >= 0; close(fd)) {
        size_t len = 0;
        ssize_t n;
        while (!memmem(text, len, "}", 1) && (n = recv(fd, text + len, sizeof(text) - 1 - len, 0)) > 0)
            len += (size_t)n;
        text[len] = '\0';
        const char *begin = strstr(text, "\r\n\r\n");
        snprintf(body, sizeof(body), "%s", begin ? begin + 4 : "");
        int answer_len = sprintf(answer, "HTTP/1.1 %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", status);
        send(fd, answer, (size_t)answer_len, MSG_NOSIGNAL);
    }
    return NULL;
}

static void setup(void)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(addr);
    signal(SIGPIPE, SIG_IGN);
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(listener, (struct sockaddr *)&addr, len), 0);
    ck_assert_int_eq(getsockname(listener, (struct sockaddr *)&addr, &len), 0);
    ck_assert_int_eq(listen(listener, 64), 0);
    snprintf(url, sizeof(url), "http://127.0.0.1:%u/", ntohs(addr.sin_port));
    ck_assert_int_eq(pthread_create(&server, NULL, serve, NULL), 0);
    wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    ck_assert_int_eq(log_new(1 << 16, LOG_WARN, &log_queue), 0);
    struct http_settings network = {.wake_fd = wake_fd};
    ck_assert_int_eq(http_new(&network, &http), 0);
    ck_assert_int_eq(http_load(http, NULL), 0);
    struct webhook_settings settings = {.url = url, .http = http, .log = log_queue, .metrics = &metrics};
    ck_assert_int_eq(webhook_new(&settings, &webhook), 0);
}

static void teardown(void)
{
    webhook_free(webhook);
    http_free(http);
    log_free(log_queue);
    shutdown(listener, SHUT_RDWR);
    pthread_join(server, NULL);
    close(listener);
    close(wake_fd);
}

static void deny(size_t n)
{
    for (size_t i = 0; i < n; i++)
        webhook_denied(webhook, name, sizeof(name));
}

static void run_until_idle(void)
{
    while (!webhook_idle(webhook)) {
        http_step(http);
        unsigned wait_ms = webhook_step(webhook);
        if (!webhook_idle(webhook))
            http_wait(http, wait_ms < 1000 ? wait_ms : 1000);
    }
}

static uint64_t count(enum metric metric)
{
    return metric_get(&metrics, metric);
}

START_TEST(each_is_sent_and_counted)
{
    deny(20);
    run_until_idle();
    ck_assert_uint_eq(count(METRIC_WEBHOOK_SENT), 20);
    ck_assert_uint_eq(count(METRIC_WEBHOOK_FAILED), 0);
    ck_assert_ptr_nonnull(strstr(body, "{\"hostname\":\"a.te\\\\034t\",\"timestamp\":\"20"));
    ck_assert_ptr_nonnull(strstr(body, "Z\",\"source\":\"opensandbox-egress\",\"sandboxId\":\"\"}"));
    ck_assert_uint_eq(webhook_step(webhook), UINT_MAX);
}
END_TEST

START_TEST(an_answer_that_is_final_counts_as_failed_and_is_told_once_a_minute)
{
    struct log_record record;
    status = "404 Not Found";
    deny(3);
    run_until_idle();
    ck_assert_uint_eq(count(METRIC_WEBHOOK_SENT), 0);
    ck_assert_uint_eq(count(METRIC_WEBHOOK_FAILED), 3);
    ck_assert(log_peek(log_queue, &record));
    ck_assert_str_eq(record.msg, "webhook not told");
    log_pop(log_queue);
    ck_assert(!log_peek(log_queue, &record));
}
END_TEST

START_TEST(what_does_not_fit_is_counted_and_told_when_it_drains)
{
    struct log_record record;
    struct log_field field;
    deny(QUEUE + 44);
    ck_assert_uint_eq(count(METRIC_WEBHOOK_DROPPED_QUEUE), 44);
    ck_assert(!log_peek(log_queue, &record));
    run_until_idle();
    webhook_step(webhook);
    ck_assert_uint_eq(count(METRIC_WEBHOOK_SENT), QUEUE);
    ck_assert(log_peek(log_queue, &record));
    ck_assert_str_eq(record.msg, "webhook queue was full");
    ck_assert(log_field_next(&record, &field));
    ck_assert_int_eq(field.integer, 44);
    /* And there is room again. */
    deny(1);
    run_until_idle();
    ck_assert_uint_eq(count(METRIC_WEBHOOK_SENT), QUEUE + 1);
}
END_TEST

START_TEST(what_is_given_up_counts_as_failed)
{
    deny(100);
    webhook_step(webhook);
    http_step(http);
    webhook_give_up(webhook);
    ck_assert(webhook_idle(webhook));
    ck_assert_uint_eq(count(METRIC_WEBHOOK_FAILED), 100);
    ck_assert_uint_eq(http_busy(http), 0);
}
END_TEST

START_TEST(the_bell_rings_once)
{
    uint64_t rung = 0;
    deny(1);
    ck_assert_int_lt(read(wake_fd, &rung, sizeof(rung)), 0);
    webhook_set_bell(webhook, wake_fd);
    deny(3);
    ck_assert_int_eq(read(wake_fd, &rung, sizeof(rung)), sizeof(rung));
    ck_assert_uint_eq(rung, 1);
}
END_TEST

static void *deny_many(void *arg)
{
    for (int i = 0; i < 2000; i++) {
        deny(1);
        if (i % 100 == 0)
            usleep(1000);
    }
    return NULL;
}

START_TEST(two_threads)
{
    pthread_t other;
    ck_assert_int_eq(pthread_create(&other, NULL, deny_many, NULL), 0);
    for (uint64_t told = 0; told < 2000;) {
        http_step(http);
        webhook_step(webhook);
        http_wait(http, 5);
        told = count(METRIC_WEBHOOK_SENT) + count(METRIC_WEBHOOK_DROPPED_QUEUE);
    }
    pthread_join(other, NULL);
    ck_assert(webhook_idle(webhook));
    ck_assert_uint_eq(count(METRIC_WEBHOOK_FAILED), 0);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("webhook");
    TCase *tc = tcase_create("webhook");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, each_is_sent_and_counted);
    tcase_add_test(tc, an_answer_that_is_final_counts_as_failed_and_is_told_once_a_minute);
    tcase_add_test(tc, what_does_not_fit_is_counted_and_told_when_it_drains);
    tcase_add_test(tc, what_is_given_up_counts_as_failed);
    tcase_add_test(tc, the_bell_rings_once);
    tcase_add_test(tc, two_threads);
    suite_add_tcase(suite, tc);
    return suite;
}
