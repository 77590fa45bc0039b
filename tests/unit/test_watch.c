/* Each way in which files change is noticed, once, and what is no change of theirs is not. */
#include "base/mailbox.h"
#include "base/watch.h"
#include "tests/unit/runner.h"
#include "tests/unit/scratch.h"

#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <unistd.h>

static const char *const names[] = {"one", "two"};

static struct scratch scratch;
static char folder[SCRATCH_PATH_MAX];
static struct loop *loop;
static struct mailbox *mailbox;
static struct watch *watch;
static pthread_t thread;
static bool running;
static atomic_int calls, calls_again;
static atomic_bool readable; /* what `changed` answers */

static bool changed(void *ctx, bool again)
{
    calls_again += again;
    calls++;
    return readable;
}

static void start_watch(unsigned poll_ms)
{
    struct watch_settings settings = {
        .folder = folder, .names = names, .n_names = 2, .poll_ms = poll_ms, .changed = changed};
    ck_assert_int_eq(watch_new(loop, &settings, &watch), 0);
}

static void *run_loop(void *arg)
{
    loop_run(loop);
    return NULL;
}

static void start(unsigned poll_ms)
{
    start_watch(poll_ms);
    ck_assert_int_eq(pthread_create(&thread, NULL, run_loop, NULL), 0);
    running = true;
}

/* How often `changed` was called since this was asked last: waits for a call, at most so long. */
static int calls_within(unsigned ms)
{
    static int seen;
    uint64_t limit = clock_monotonic_ns() + ms * NS_PER_MS;
    while (calls == seen && clock_monotonic_ns() < limit)
        usleep(1000);
    int n = calls - seen;
    seen += n;
    return n;
}

/* Noticed within the second that is promised, and then it is quiet. */
#define expect_change()                                                                                                \
    do {                                                                                                               \
        ck_assert_int_eq(calls_within(1000), 1);                                                                       \
        ck_assert_int_eq(calls_within(400), 0);                                                                        \
    } while (0)

static void shell(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void shell(const char *format, ...)
{
    char line[1024], command[2048];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    snprintf(command, sizeof(command), "cd '%s' && %s", scratch.folder, line);
    ck_assert_int_eq(system(command), 0);
}

static void setup(void)
{
    readable = true;
    scratch_make(&scratch);
    snprintf(folder, sizeof(folder), "%s/rules", scratch.folder);
    ck_assert_int_eq(loop_new(&loop), 0);
    ck_assert_int_eq(mailbox_new(loop, NULL, &mailbox), 0);
}

static void stop_loop(struct mail *mail, void *ctx)
{
    loop_stop(loop);
}

static void teardown(void)
{
    struct mail stop = {.deliver = stop_loop};
    if (running) {
        mailbox_post(mailbox, &stop);
        pthread_join(thread, NULL);
    }
    watch_free(watch);
    mailbox_free(mailbox);
    loop_free(loop);
    scratch_remove(&scratch);
}

/* Before the watch, and the change. */
static const struct {
    const char *before, *change;
} noticed[] = {
    {"mkdir rules", "echo a > rules/one"},
    {"mkdir rules; echo a > rules/one", "echo b > rules/one"},
    {"mkdir rules; echo a > rules/one", "echo b >> rules/one"},
    {"mkdir rules; echo a > rules/one", "rm rules/one"},
    {"mkdir rules; echo a > rules/one", "chmod 400 rules/one"},
    {"mkdir rules; echo a > rules/one", "echo b > rules/.new; mv rules/.new rules/one"},
    {"mkdir rules; echo a > rules/one", "mv rules/one rules/one~; echo b > rules/one"},
    {"mkdir rules; echo a > rules/one", "echo b > rules/one; echo c > rules/two"},
    /* A ConfigMap: the files are links into a folder that is exchanged. */
    {"mkdir -p rules/..1; echo a > rules/..1/one; ln -s ..1 rules/..data; ln -s ..data/one rules/one",
     "mkdir rules/..2; echo b > rules/..2/one; ln -s ..2 rules/..tmp; mv -T rules/..tmp rules/..data; rm -r rules/..1"},
    /* Links that lead elsewhere. */
    {"mkdir rules; echo a > elsewhere; ln -s ../elsewhere rules/one", "echo b > elsewhere"},
    {"mkdir rules; echo a > elsewhere; ln -s ../elsewhere rules/one", "echo b > new; mv new elsewhere"},
    {"mkdir v1 v2; echo a > v1/one; echo b > v2/one; ln -s v1 rules", "ln -s v2 new; mv -T new rules"},
    /* The folder comes and goes. */
    {"true", "mkdir rules; echo a > rules/one"},
    {"true", "mkdir new; echo a > new/one; mv new rules"},
    {"mkdir rules; echo a > rules/one", "rm -r rules"},
};

START_TEST(a_change_is_noticed)
{
    shell("%s", noticed[_i].before);
    usleep(50000); /* older than a tick of the file system's clock */
    start(0);
    ck_assert(!watch_is_blind(watch));
    shell("%s", noticed[_i].change);
    expect_change();
}
END_TEST

START_TEST(a_folder_deep_below_what_exists)
{
    snprintf(folder, sizeof(folder), "%s/a/b/rules/", scratch.folder);
    start(0);
    ck_assert(!watch_is_blind(watch));
    shell("mkdir a");
    ck_assert_int_eq(calls_within(300), 0);
    shell("mkdir -p a/b/rules; echo a > a/b/rules/one");
    expect_change();
    shell("mv a/b a/gone");
    expect_change();
    shell("echo b > a/gone/rules/one");
    ck_assert_int_eq(calls_within(300), 0);
    shell("mv a/gone a/b");
    expect_change();
    shell("echo bb > a/b/rules/one");
    expect_change();
}
END_TEST

START_TEST(one_change_after_the_other)
{
    shell("mkdir rules; echo a > elsewhere");
    start(0);
    for (int i = 0; i < 3; i++) {
        shell("echo %d > rules/one", i);
        expect_change();
        shell("ln -sf ../elsewhere rules/one");
        expect_change();
        shell("echo %d > elsewhere", i);
        expect_change();
        shell("rm rules/one; sleep 0.05");
        expect_change();
        shell("echo x > elsewhere");
        ck_assert_int_eq(calls_within(300), 0);
    }
}
END_TEST

START_TEST(a_writer_in_the_middle_of_its_write_is_waited_for)
{
    shell("mkdir rules");
    start(0);
    shell("(for i in 1 2 3 4 5; do echo $i; sleep 0.02; done) > rules/one & ");
    ck_assert_int_eq(calls_within(1000), 1);
    char *text = scratch_read(scratch_path(&scratch, "rules/one"));
    ck_assert_str_eq(text, "1\n2\n3\n4\n5\n");
    free(text);
    ck_assert_int_eq(calls_within(400), 0);
}
END_TEST

START_TEST(a_writer_that_never_pauses_is_not_waited_for)
{
    shell("mkdir rules; (for i in $(seq 30); do echo $i; sleep 0.05; done) > rules/one & ");
    start(0);
    ck_assert_int_eq(calls_within(1000), 1);
    ck_assert_int_eq(calls_within(1000), 1);
    /* The last write is seen, too. */
    for (bool ended = false; !ended;) {
        char *text = scratch_read(scratch_path(&scratch, "rules/one"));
        ended = strstr(text, "\n30\n");
        free(text);
        usleep(1000);
    }
    calls_within(0);
    ck_assert_int_eq(calls_within(1000), 1);
}
END_TEST

START_TEST(what_is_not_ours_is_no_change)
{
    shell("mkdir rules; echo a > rules/one; sleep 0.05");
    start(0);
    shell("echo b > rules/three; mkdir rules/four other; cat rules/one > rules/three; rm rules/three");
    ck_assert_int_eq(calls_within(300), 0);
}
END_TEST

START_TEST(a_look_now_and_then_where_inotify_is_not_to_be_had)
{
    shell("mkdir rules; echo a > rules/one; sleep 0.05");
    struct rlimit before, none = {0};
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    none.rlim_max = before.rlim_max;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
    start(0);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
    ck_assert(watch_is_blind(watch));
    shell("echo b > rules/one");
    ck_assert_int_eq(calls_within(1500), 1);
    ck_assert_int_eq(calls_within(1500), 0);
}
END_TEST

static void overlay(void)
{
    char options[512];
    snprintf(options, sizeof(options), "lowerdir=%s/below,upperdir=%s/upper,workdir=%s/work", scratch.folder,
             scratch.folder, scratch.folder);
    ck_assert_int_eq(unshare(CLONE_NEWNS), 0);
    ck_assert_int_eq(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
    ck_assert_int_eq(mount("overlay", folder, "overlay", 0, options), 0);
}

/* A file system that inotify works on and that all the same tells nothing of what happens below it. */
START_TEST(a_look_now_and_then_sees_what_inotify_does_not)
{
    shell("mkdir rules below upper work; echo a > below/one; sleep 0.05");
    overlay();
    start(_i ? 1000 : 0);
    ck_assert(!watch_is_blind(watch));
    shell("echo b > below/one");
    ck_assert_int_eq(calls_within(1500), _i); /* a minute in daily life */
    shell("umount -l rules");
}
END_TEST

START_TEST(what_could_not_be_read_is_tried_again)
{
    shell("mkdir rules");
    start(1000);
    readable = false;
    shell("echo a > rules/one");
    ck_assert_int_eq(calls_within(800), 1);
    ck_assert_int_eq(calls_again, 0);
    ck_assert_int_eq(calls_within(1500), 1);
    ck_assert_int_eq(calls_again, 1);
    shell("echo b > rules/one");
    ck_assert_int_eq(calls_within(800), 1);
    ck_assert_int_eq(calls_again, 1); /* another version */
    readable = true;
    ck_assert_int_eq(calls_within(1500), 1);
    ck_assert_int_eq(calls_again, 2);
    ck_assert_int_eq(calls_within(1200), 0);
}
END_TEST

START_TEST(a_report_on_demand_takes_what_is_there_for_known)
{
    shell("mkdir rules");
    start_watch(0);
    shell("echo a > rules/one; sleep 0.05");
    watch_report(watch);
    ck_assert_int_eq(calls_within(0), 1);
    watch_report(watch);
    ck_assert_int_eq(calls_within(0), 1);
    ck_assert_int_eq(pthread_create(&thread, NULL, run_loop, NULL), 0);
    running = true;
    ck_assert_int_eq(calls_within(400), 0);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("watch");
    TCase *tcase = tcase_create("watch");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 30);
    tcase_add_loop_test(tcase, a_change_is_noticed, 0, sizeof(noticed) / sizeof(noticed[0]));
    tcase_add_test(tcase, a_folder_deep_below_what_exists);
    tcase_add_test(tcase, one_change_after_the_other);
    tcase_add_test(tcase, a_writer_in_the_middle_of_its_write_is_waited_for);
    tcase_add_test(tcase, a_writer_that_never_pauses_is_not_waited_for);
    tcase_add_test(tcase, what_is_not_ours_is_no_change);
    tcase_add_test(tcase, a_look_now_and_then_where_inotify_is_not_to_be_had);
    tcase_add_loop_test(tcase, a_look_now_and_then_sees_what_inotify_does_not, 0, 2);
    tcase_add_test(tcase, what_could_not_be_read_is_tried_again);
    tcase_add_test(tcase, a_report_on_demand_takes_what_is_there_for_known);
    suite_add_tcase(suite, tcase);
    return suite;
}
