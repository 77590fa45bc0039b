#include "base/loop.h"
#include "notify.h"
#include "supervise.h"
#include "tests/unit/runner.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Of each run the sidecar takes one letter: what becomes of it. `.` 0, `1` 69, `8` 78, `c` a crash, `s` waits to be
 * stopped, `h` lives and hangs, `q` says that it stops and takes its time. Letters are in a pipe, which all the
 * processes share. */
static int letters[2], log_pipe[2];
#define SILENCE_US 200000

static const int final[] = {64, 78};

static int become(void *ctx, int life_fd)
{
    char letter;
    sigset_t set;
    int number;
    if (read(letters[0], &letter, 1) != 1)
        return 99;
    switch (letter) {
    case '1':
        return 69;
    case '8':
        return 78;
    case 'c':
        kill(getpid(), SIGKILL);
        pause();
        return 98;
    case 'h':
    case 'q':
        for (int i = 0; i < 5; i++) {
            if (write(life_fd, &(char){LIFE_GOES_ON}, 1) != 1)
                return 97;
            usleep(SILENCE_US / 2);
        }
        if (letter == 'q' && write(life_fd, &(char){LIFE_ENDS}, 1) == 1) {
            usleep(3 * SILENCE_US);
            return 0;
        }
        kill(getpid(), SIGSTOP); /* which SIGTERM would not end */
        return 96;
    case 's':
        kill(getppid(), SIGTERM); /* as a container runtime would, before it looks for signals */
        usleep(50000);
        sigemptyset(&set);
        sigaddset(&set, SIGTERM);
        sigwait(&set, &number);
        return 7;
    }
    return 0;
}

static struct supervise_settings settings = {
    .backoff = {.first_ns = NS_PER_MS,
                .longest_ns = 2 * NS_PER_MS,
                .good_ns = 60 * NS_PER_S,
                .starts = 4,
                .window_ns = 300 * NS_PER_S},
    .final = final,
    .n_final = 2,
    .log_level = LOG_INFO,
    .become = become,
};

static enum supervise_end supervise_script(const char *script, int *code, struct why *why)
{
    ck_assert_int_eq(pipe(letters), 0);
    ck_assert_int_eq(pipe(log_pipe), 0);
    ck_assert_int_eq(write(letters[1], script, strlen(script)), (ssize_t)strlen(script));
    settings.log_fd = log_pipe[1];
    return supervise(&settings, code, why);
}

/* How often `text` is in the log. Reads it to its end. */
static char log_text[65536];

static int logged(const char *text)
{
    int n = 0;
    fcntl(log_pipe[0], F_SETFL, O_NONBLOCK);
    size_t len = strlen(log_text);
    ssize_t got = read(log_pipe[0], log_text + len, sizeof(log_text) - len - 1);
    if (got > 0)
        log_text[len + (size_t)got] = '\0';
    for (const char *at = log_text; (at = strstr(at, text)); at++)
        n++;
    return n;
}

START_TEST(starts_again_until_it_ends_well)
{
    int code = -1;
    struct why why;
    ck_assert_int_eq(supervise_script("c1.", &code, &why), SUPERVISE_EXITED);
    ck_assert_int_eq(code, 0);
    ck_assert_int_eq(logged("\"egress.supervisor.start\""), 3);
    ck_assert_int_eq(logged("\"egress.supervisor.backoff\""), 2);
    ck_assert_int_eq(logged("\"signal\":9"), 1);
    ck_assert_int_eq(logged("\"process.exit.code\":69"), 1);
    ck_assert_int_eq(logged("{\"level\":\"warn\",\"ts\":\"20"), 5); /* three ends, two waits */
}
END_TEST

START_TEST(what_can_never_work_is_not_tried_again)
{
    int code = -1;
    struct why why;
    ck_assert_int_eq(supervise_script("8", &code, &why), SUPERVISE_EXITED);
    ck_assert_int_eq(code, 78);
    ck_assert_int_eq(logged("\"egress.supervisor.start\""), 1);
}
END_TEST

START_TEST(one_that_hangs_is_killed_and_started_again)
{
    int code = -1;
    struct why why;
    settings.silence_ns = SILENCE_US * 1000;
    uint64_t begin = clock_monotonic_ns();
    ck_assert_int_eq(supervise_script("h.", &code, &why), SUPERVISE_EXITED);
    ck_assert_int_eq(code, 0);
    ck_assert_uint_ge(clock_monotonic_ns() - begin, 3 * SILENCE_US * 1000ull); /* it lived that long */
    ck_assert_int_eq(logged("\"egress.supervisor.hang\""), 1);
    ck_assert_int_eq(logged("\"signal\":9"), 1);
    ck_assert_int_eq(logged("\"egress.supervisor.start\""), 2);
}
END_TEST

START_TEST(one_that_stops_may_be_silent)
{
    int code = -1;
    struct why why;
    settings.silence_ns = SILENCE_US * 1000;
    ck_assert_int_eq(supervise_script("q", &code, &why), SUPERVISE_EXITED);
    ck_assert_int_eq(code, 0);
    ck_assert_int_eq(logged("\"egress.supervisor.hang\""), 0);
}
END_TEST

START_TEST(gives_up_after_so_many_starts)
{
    int code = -1;
    struct why why;
    ck_assert_int_eq(supervise_script("c1c1c1c1", &code, &why), SUPERVISE_GAVE_UP);
    ck_assert_int_eq(logged("\"egress.supervisor.start\""), 4);
    ck_assert_int_eq(logged("\"egress.supervisor.give_up\",\"starts\":4,\"window\":300"), 1);
    ck_assert_ptr_nonnull(strstr(why.text, "4 starts in 300 s"));
}
END_TEST

START_TEST(a_signal_is_handed_on_and_the_end_is_awaited)
{
    int code = -1;
    struct why why;
    ck_assert_int_eq(supervise_script("s", &code, &why), SUPERVISE_EXITED);
    ck_assert_int_eq(code, 7);
    ck_assert_int_eq(logged("{\"level\":\"info\""), 2);
}
END_TEST

START_TEST(a_log_that_nobody_reads_holds_nothing_up)
{
    int code = -1;
    struct why why;
    settings.backoff.starts = 32;
    settings.backoff.first_ns = settings.backoff.longest_ns = 1000;
    ck_assert_int_eq(pipe(letters), 0);
    ck_assert_int_eq(pipe(log_pipe), 0);
    fcntl(log_pipe[1], F_SETPIPE_SZ, 4096);
    settings.log_fd = log_pipe[1];
    static const char script[] = "cccccccccccccccccccccccccccccc.";
    ck_assert_int_eq(write(letters[1], script, sizeof(script) - 1), (ssize_t)sizeof(script) - 1);
    ck_assert_int_eq(supervise(&settings, &code, &why), SUPERVISE_EXITED);
    ck_assert_int_eq(code, 0);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("supervise");
    TCase *tcase = tcase_create("all"); /* each test is a process of its own: check forks */
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, starts_again_until_it_ends_well);
    tcase_add_test(tcase, what_can_never_work_is_not_tried_again);
    tcase_add_test(tcase, one_that_hangs_is_killed_and_started_again);
    tcase_add_test(tcase, one_that_stops_may_be_silent);
    tcase_add_test(tcase, gives_up_after_so_many_starts);
    tcase_add_test(tcase, a_signal_is_handed_on_and_the_end_is_awaited);
    tcase_add_test(tcase, a_log_that_nobody_reads_holds_nothing_up);
    suite_add_tcase(suite, tcase);
    return suite;
}
