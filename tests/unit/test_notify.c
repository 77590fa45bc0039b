#include "notify.h"
#include "tests/unit/runner.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int manager; /* the end of a service manager */
static struct loop *loop;
static struct notify notify;

/* An abstract socket, which leaves no file. */
static void setup(void)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int len = snprintf(addr.sun_path + 1, sizeof(addr.sun_path) - 1, "egress-notify-%d", (int)getpid());
    char path[sizeof(addr.sun_path)];
    snprintf(path, sizeof(path), "@egress-notify-%d", (int)getpid());
    manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(
        bind(manager, (struct sockaddr *)&addr, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)len)),
        0);
    setenv("NOTIFY_SOCKET", path, 1);
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
    ck_assert_int_eq(loop_new(&loop), 0);
}

static void teardown(void)
{
    notify_close(&notify);
    loop_free(loop);
    close(manager);
}

static const char *heard(int flags)
{
    static char text[256];
    ssize_t n = recv(manager, text, sizeof(text) - 1, flags);
    text[n > 0 ? n : 0] = '\0';
    return text;
}

START_TEST(ready_and_stopping)
{
    notify_open(-1, &notify);
    ck_assert_str_eq(heard(MSG_DONTWAIT), "");
    notify_ready(&notify, loop);
    ck_assert_str_eq(heard(MSG_DONTWAIT), "READY=1\nSTATUS=The sandbox is guarded.");
    notify_stopping(&notify, 50);
    ck_assert_str_eq(heard(MSG_DONTWAIT), "STOPPING=1\nSTATUS=Stopping.\nEXTEND_TIMEOUT_USEC=50000000");
}
END_TEST

static void stop(struct loop_timer *timer)
{
    loop_stop(loop);
}

START_TEST(signs_of_life_come_while_the_loop_turns)
{
    setenv("WATCHDOG_USEC", "40000", 1);
    notify_open(-1, &notify);
    ck_assert_uint_eq(notify.watchdog_ns, 20 * NS_PER_MS);
    notify_ready(&notify, loop);
    heard(MSG_DONTWAIT);
    usleep(60000); /* the loop hangs: what the test is about is that nothing comes, however long that takes */
    ck_assert_str_eq(heard(MSG_DONTWAIT), "");
    struct loop_timer end = {.fire = stop};
    loop_timer_set(loop, &end, clock_monotonic_ns() + 100 * NS_PER_MS);
    ck_assert_int_eq(loop_run(loop), 0);
    ck_assert_str_eq(heard(MSG_DONTWAIT), "WATCHDOG=1");
    ck_assert_str_eq(heard(MSG_DONTWAIT), "WATCHDOG=1");
}
END_TEST

START_TEST(an_interval_of_hours_is_one)
{
    setenv("WATCHDOG_USEC", "7200000000", 1); /* two hours: more than 32 bits hold */
    notify_open(-1, &notify);
    ck_assert_uint_eq(notify.watchdog_ns, 3600 * NS_PER_S);
    notify_close(&notify);
    static const char *const none[] = {"0", "-1", "", "1s", "99999999999999999999999"};
    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
        setenv("WATCHDOG_USEC", none[i], 1);
        notify_open(-1, &notify);
        ck_assert_uint_eq(notify.watchdog_ns, 0);
        notify_close(&notify);
    }
    setenv("WATCHDOG_USEC", "18446744073709551615", 1); /* systemd's infinity */
    notify_open(-1, &notify);
    ck_assert_uint_gt(notify.watchdog_ns, 1000000 * NS_PER_S);
}
END_TEST

START_TEST(signs_of_life_of_others_are_not_ours)
{
    setenv("WATCHDOG_USEC", "40000", 1);
    setenv("WATCHDOG_PID", "1", 1);
    notify_open(-1, &notify);
    ck_assert_uint_eq(notify.watchdog_ns, 0);
    notify_close(&notify);
    char pid[16];
    snprintf(pid, sizeof(pid), "%d", (int)getpid());
    setenv("WATCHDOG_PID", pid, 1);
    notify_open(-1, &notify);
    ck_assert_uint_eq(notify.watchdog_ns, 20 * NS_PER_MS);
}
END_TEST

START_TEST(without_a_manager_nothing_happens)
{
    static const char *const sockets[] = {NULL, "", "@", "relative", "/nonexistent/socket"};
    for (size_t i = 0; i < sizeof(sockets) / sizeof(sockets[0]); i++) {
        if (sockets[i])
            setenv("NOTIFY_SOCKET", sockets[i], 1);
        else
            unsetenv("NOTIFY_SOCKET");
        notify_open(-1, &notify);
        ck_assert_int_eq(notify.fd, -1);
        notify_ready(&notify, loop);
        notify_stopping(&notify, 1);
    }
}
END_TEST

START_TEST(a_manager_that_does_not_read_holds_nobody_up)
{
    notify_open(-1, &notify);
    for (int i = 0; i < 10000; i++)
        notify_stopping(&notify, 1);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("notify");
    TCase *tcase = tcase_create("all");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, ready_and_stopping);
    tcase_add_test(tcase, signs_of_life_come_while_the_loop_turns);
    tcase_add_test(tcase, an_interval_of_hours_is_one);
    tcase_add_test(tcase, signs_of_life_of_others_are_not_ours);
    tcase_add_test(tcase, without_a_manager_nothing_happens);
    tcase_add_test(tcase, a_manager_that_does_not_read_holds_nobody_up);
    suite_add_tcase(suite, tcase);
    return suite;
}
