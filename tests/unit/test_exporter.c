#include "base/loop.h"
#include "telemetry/exporter.h"
#include "tests/unit/runner.h"
#include "tests/unit/scratch.h"

#include <cjson/cJSON.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct attribute attributes[] = {{"sandbox_id", "sbx"}};

static struct scratch scratch;
static char path[SCRATCH_PATH_MAX];
static struct log *logs[2];
static struct exporter *exporter;

static void setup(void)
{
    signal(SIGPIPE, SIG_IGN);
    scratch_make(&scratch);
    strcpy(path, scratch_path(&scratch, "egress.log"));
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(log_new(1 << 18, LOG_INFO, &logs[i]), 0);
    exporter = NULL;
}

static void teardown(void)
{
    ck_assert(exporter_stop(exporter, 5000));
    for (int i = 0; i < 2; i++)
        log_free(logs[i]);
    scratch_remove(&scratch);
}

static struct metrics metrics;
static struct recent *shows_events_to;

static void start(const char *output)
{
    struct why why = {""};
    struct exporter_settings settings = {.outputs = &output,
                                         .n_outputs = 1,
                                         .attributes = attributes,
                                         .n_attributes = 1,
                                         .logs = logs,
                                         .n_logs = 2,
                                         .recent = shows_events_to,
                                         .metrics = &metrics};
    ck_assert_msg(exporter_new(&settings, &exporter, &why) == 0, "%s", why.text);
    ck_assert_msg(exporter_start(exporter, &why) == 0, "%s", why.text);
}

static void stop(void)
{
    ck_assert(exporter_stop(exporter, 5000));
    exporter = NULL;
}

static void record(struct log *log, int n)
{
    if (!log_begin(log, LOG_INFO, LOG_PLAIN, "number"))
        return;
    log_int(log, "n", n);
    log_end(log);
}

/* The number `key` of the line at `line`, which must be one JSON object; -1: it has none. */
static double number_in(const char *line, const char *key)
{
    const char *end;
    cJSON *json = cJSON_ParseWithOpts(line, &end, false);
    ck_assert_msg(json && *end == '\n', "no JSON: %.200s", line);
    ck_assert_str_eq(cJSON_GetStringValue(cJSON_GetObjectItem(json, "sandbox_id")), "sbx");
    cJSON *item = cJSON_GetObjectItem(json, key);
    double number = item ? item->valuedouble : -1;
    cJSON_Delete(json);
    return number;
}

/* Waits, for at most five seconds, until the file holds `needle`. */
static void wait_for_text(const char *file, const char *needle)
{
    for (int i = 0; i < 5000; i++) {
        char *text = scratch_read(file);
        bool found = text && strstr(text, needle);
        free(text);
        if (found)
            return;
        poll(NULL, 0, 1);
    }
    ck_abort_msg("no %s in %s", needle, file);
}

START_TEST(records_of_all_queues_come_out_in_order_of_time)
{
    for (int i = 0; i < 2000; i++)
        record(logs[i % 3 == 0], i);
    start(path);
    stop();
    char *text = scratch_read(path);
    int n = 0;
    for (char *line = text; *line; line = strchr(line, '\n') + 1)
        ck_assert_int_eq((int)number_in(line, "n"), n++);
    ck_assert_int_eq(n, 2000);
    free(text);
}
END_TEST

/* Those that are not written, too; and nothing but events. */
START_TEST(events_are_shown_to_who_looks)
{
    struct recent *recent;
    struct buf shown = {0};
    ck_assert_int_eq(recent_new(logs, 2, &recent), 0);
    log_free(logs[0]);
    ck_assert_int_eq(log_new(1 << 18, LOG_WARN, &logs[0]), 0);
    recent_json(recent, 0, clock_monotonic_ns(), &shown);
    buf_clear(&shown);
    for (int i = 0; i < 3000; i++) {
        enum log_event event = i % 1000 == 7 ? LOG_DENIED : LOG_PLAIN;
        if (log_begin(logs[i % 2], LOG_INFO, event, "message")) {
            log_int(logs[i % 2], "n", i);
            log_end(logs[i % 2]);
        }
    }
    shows_events_to = recent;
    start(path);
    stop();
    recent_json(recent, 0, clock_monotonic_ns(), &shown);
    const char *expected = "\"opensandbox.event\":\"egress.denied\",\"n\":7},{\"number\":2,\"ts\":\"20";
    ck_assert_msg(strstr(shown.data, expected) && strstr(shown.data, "\"n\":2007}]}\n"), "%s", shown.data);
    ck_assert_ptr_nonnull(strstr(shown.data, "\"last\":3,"));
    char *text = scratch_read(path);
    int n = 1;
    for (char *line = text; *line; line = strchr(line, '\n') + 1, n += 2)
        ck_assert_int_eq((int)number_in(line, "n"), n); /* those of the other log are below its level */
    ck_assert_int_eq(n, 3001);
    free(text);
    buf_done(&shown);
    recent_free(recent);
    shows_events_to = NULL;
}
END_TEST

START_TEST(stop_writes_what_was_recorded_before)
{
    start(path);
    for (int i = 0; i < 1000; i++)
        record(logs[0], i);
    stop();
    char *text = scratch_read(path);
    ck_assert_ptr_nonnull(strstr(text, "\"n\":999}"));
    free(text);
}
END_TEST

START_TEST(an_output_that_cannot_be_opened_stops_the_start)
{
    struct why why;
    const char *output = scratch_path(&scratch, "none/egress.log");
    struct exporter_settings settings = {
        .outputs = &output, .n_outputs = 1, .logs = logs, .n_logs = 2, .metrics = &metrics};
    ck_assert_int_eq(exporter_new(&settings, &exporter, &why), -ENOENT);
    ck_assert_ptr_nonnull(strstr(why.text, output));
}
END_TEST

START_TEST(files_are_reopened_on_request)
{
    char aside[SCRATCH_PATH_MAX];
    strcpy(aside, scratch_path(&scratch, "aside"));
    start(path);
    record(logs[0], 1);
    wait_for_text(path, "\"n\":1}");
    ck_assert_int_eq(rename(path, aside), 0);
    exporter_reopen(exporter);
    wait_for_text(path, "");
    record(logs[0], 2);
    wait_for_text(path, "\"n\":2}");
    char *text = scratch_read(aside);
    ck_assert_ptr_null(strstr(text, "\"n\":2}"));
    free(text);
}
END_TEST

/* --- an output that nobody reads --- */

struct pipe {
    int ends[2];
    char name[32]; /* by which the writing end can be opened as a file */
};

static struct pipe new_pipe(void)
{
    struct pipe p;
    ck_assert_int_eq(pipe(p.ends), 0);
    snprintf(p.name, sizeof(p.name), "/proc/self/fd/%d", p.ends[1]);
    return p;
}

struct counts {
    uint64_t records, dropped, reports;
};

/* Reads lines to the end of the pipe. */
static void *count_lines(void *arg)
{
    FILE *f = fdopen(*(int *)arg, "r");
    struct counts *counts = calloc(1, sizeof(*counts));
    char *line = NULL;
    size_t cap = 0;
    while (getline(&line, &cap, f) > 0) {
        double dropped = number_in(line, "dropped");
        if (dropped < 0)
            dropped = number_in(line, "lost");
        if (dropped < 0) {
            counts->records++;
        } else {
            counts->dropped += (uint64_t)dropped;
            counts->reports++;
        }
    }
    free(line);
    fclose(f);
    return counts;
}

START_TEST(a_blocked_pipe_holds_nobody_up_and_losses_are_counted)
{
    struct pipe p = new_pipe();
    start(p.name);
    close(p.ends[1]);
    uint64_t begin = clock_monotonic_ns(), n = 0;
    for (; log_dropped(logs[0]) < 100000; n++)
        record(logs[0], (int)n);
    /* A hundred thousand records take some milliseconds; any wait for the pipe would last for ever. */
    ck_assert_uint_lt(clock_monotonic_ns() - begin, 3 * NS_PER_S);
    ck_assert_msg(!exporter_stop(exporter, 50), "it has written what nobody has read");

    pthread_t reader;
    void *result;
    ck_assert_int_eq(pthread_create(&reader, NULL, count_lines, &p.ends[0]), 0);
    stop();
    ck_assert_int_eq(pthread_join(reader, &result), 0);
    struct counts *counts = result;
    ck_assert_uint_ge(counts->dropped, log_dropped(logs[0]));
    ck_assert_uint_ge(counts->reports, 1);
    /* What the thread itself had to say may be among the lines that were lost. */
    ck_assert_uint_ge(counts->records + counts->dropped, n);
    ck_assert_uint_le(counts->records + counts->dropped, n + 3);
    free(counts);
}
END_TEST

START_TEST(a_reader_that_comes_back_learns_what_it_missed)
{
    struct pipe p = new_pipe();
    start(p.name);
    close(p.ends[1]);
    uint64_t n = 0;
    for (; log_dropped(logs[0]) < 1000; n++)
        record(logs[0], (int)n);
    uint64_t dropped = log_dropped(logs[0]);
    FILE *f = fdopen(p.ends[0], "r");
    char *line = NULL;
    size_t cap = 0;
    double reported = -1;
    while (reported < 0) { /* ends by the time limit if it never comes */
        ck_assert_int_gt(getline(&line, &cap, f), 0);
        reported = number_in(line, "dropped");
    }
    ck_assert_ptr_nonnull(strstr(line, "\"level\":\"warn\""));
    ck_assert_ptr_nonnull(strstr(line, "log records dropped"));
    ck_assert_uint_eq((uint64_t)reported, dropped);
    free(line);
    stop();
    fclose(f);
}
END_TEST

/* --- sleeping --- */

/* How often the export thread has gone to sleep so far. */
static long naps(void)
{
    char file[64], line[256];
    long count = -1;
    DIR *tasks = opendir("/proc/self/task");
    for (struct dirent *e; count < 0 && (e = readdir(tasks));) {
        bool is_export = false;
        snprintf(file, sizeof(file), "/proc/self/task/%.20s/status", e->d_name);
        FILE *f = fopen(file, "r");
        while (f && fgets(line, sizeof(line), f)) {
            is_export |= !strcmp(line, "Name:\texport\n");
            if (is_export)
                sscanf(line, "voluntary_ctxt_switches: %ld", &count);
        }
        if (f)
            fclose(f);
    }
    closedir(tasks);
    return count;
}

/* Waits until the thread has stopped napping and sleeps; true within five seconds. */
static bool falls_asleep(void)
{
    for (int i = 0; i < 25; i++) {
        long before = naps();
        poll(NULL, 0, 200);
        if (before >= 0 && naps() == before) /* it names itself, and may not have done so yet */
            return true;
    }
    return false;
}

START_TEST(an_idle_thread_sleeps_and_wakes_at_once)
{
    struct pipe p = new_pipe();
    struct pollfd pfd = {.fd = p.ends[0], .events = POLLIN};
    char line[1000];
    start(p.name);
    for (int i = 0; i < 3; i++) {
        ck_assert(falls_asleep());
        /* Its own wake-up is seconds away: it was rung. */
        record(logs[1], i);
        ck_assert_int_eq(poll(&pfd, 1, 400), 1);
        ck_assert_int_gt(read(p.ends[0], line, sizeof(line)), 0);
    }
    ck_assert(falls_asleep());
    long before = naps();
    poll(NULL, 0, 2000); /* the time that is measured */
    ck_assert_int_le(naps() - before, 1);
    stop();
    close(p.ends[0]);
    close(p.ends[1]);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("exporter");
    TCase *tc = tcase_create("exporter");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, records_of_all_queues_come_out_in_order_of_time);
    tcase_add_test(tc, events_are_shown_to_who_looks);
    tcase_add_test(tc, stop_writes_what_was_recorded_before);
    tcase_add_test(tc, an_output_that_cannot_be_opened_stops_the_start);
    tcase_add_test(tc, files_are_reopened_on_request);
    tcase_add_test(tc, a_blocked_pipe_holds_nobody_up_and_losses_are_counted);
    tcase_add_test(tc, a_reader_that_comes_back_learns_what_it_missed);
    tcase_add_test(tc, an_idle_thread_sleeps_and_wakes_at_once);
    suite_add_tcase(suite, tc);
    return suite;
}
