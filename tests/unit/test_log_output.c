#include "telemetry/log_output.h"
#include "tests/unit/runner.h"
#include "tests/unit/scratch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

static const struct log_limits limits = {.file_bytes = 1000, .keep = 3, .keep_days = 30};

static struct scratch scratch;
static char path[SCRATCH_PATH_MAX];
static struct log *reports;
static struct log_outputs *outputs;

static void setup(void)
{
    signal(SIGPIPE, SIG_IGN);
    scratch_make(&scratch);
    strcpy(path, scratch_path(&scratch, "egress.log"));
    ck_assert_int_eq(log_new(65536, LOG_INFO, &reports), 0);
    outputs = NULL;
}

static void teardown(void)
{
    log_outputs_free(outputs);
    log_free(reports);
    scratch_remove(&scratch);
}

static void open_outputs(const char *first, const char *second)
{
    const char *names[] = {first, second};
    struct why why;
    ck_assert_int_eq(log_outputs_new(names, second ? 2 : 1, &limits, reports, &outputs, &why), 0);
}

static void write_lines(const char *lines)
{
    log_outputs_write(outputs, lines, strlen(lines));
}

static void assert_content(const char *file, const char *expected)
{
    char *text = scratch_read(file);
    ck_assert_ptr_nonnull(text);
    ck_assert_str_eq(text, expected);
    free(text);
}

/* The oldest report has this message, output and error, and a field `lost` when that is not zero. */
static void assert_report(const char *msg, const char *output, int error, int64_t lost)
{
    struct log_record record;
    struct log_field field;
    ck_assert_msg(log_peek(reports, &record), "no report of %s", msg);
    ck_assert_str_eq(record.msg, msg);
    ck_assert_int_eq(record.level, LOG_WARN);
    ck_assert(log_field_next(&record, &field) && field.len == strlen(output));
    ck_assert_mem_eq(field.data, output, field.len);
    ck_assert(log_field_next(&record, &field) && field.len == strlen(strerror(error)));
    ck_assert_mem_eq(field.data, strerror(error), field.len);
    ck_assert_int_eq(log_field_next(&record, &field) ? field.integer : 0, lost);
    log_pop(reports);
}

static void assert_no_report(void)
{
    struct log_record record;
    if (log_peek(reports, &record))
        ck_abort_msg("unexpected report: %s", record.msg);
}

/* --- files --- */

START_TEST(files_are_appended_to_and_not_for_everybody)
{
    open_outputs(path, path); /* twice the same counts once */
    write_lines("1\n");
    log_outputs_free(outputs);
    open_outputs(path, NULL);
    write_lines("2\n3\n");
    struct stat st;
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_uint_eq(st.st_mode & 07777, 0640);
    assert_content(path, "1\n2\n3\n");
    assert_no_report();
}
END_TEST

START_TEST(what_cannot_be_opened_is_named)
{
    const char *fifo = strdup(scratch_path(&scratch, "fifo"));
    const char *missing = strdup(scratch_path(&scratch, "none/egress.log"));
    ck_assert_int_eq(mkfifo(fifo, 0600), 0);
    const struct {
        const char *name;
        int error;
    } cases[] = {{missing, ENOENT}, {scratch.folder, EISDIR}, {fifo, ENXIO /* nobody reads */}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *names[] = {"stderr", cases[i].name};
        struct why why;
        ck_assert_int_eq(log_outputs_new(names, 2, &limits, reports, &outputs, &why), -cases[i].error);
        ck_assert_ptr_nonnull(strstr(why.text, cases[i].name));
        ck_assert_ptr_nonnull(strstr(why.text, strerror(cases[i].error)));
    }
    free((char *)fifo);
    free((char *)missing);
}
END_TEST

START_TEST(reopening_goes_by_the_name)
{
    char aside[SCRATCH_PATH_MAX];
    strcpy(aside, scratch_path(&scratch, "aside"));
    open_outputs(path, NULL);
    write_lines("1\n");
    ck_assert_int_eq(rename(path, aside), 0);
    write_lines("2\n");
    log_outputs_reopen(outputs);
    write_lines("3\n");
    assert_content(aside, "1\n2\n");
    assert_content(path, "3\n");
    /* When it cannot be opened, the old one goes on. */
    ck_assert_int_eq(rename(path, aside), 0);
    ck_assert_int_eq(mkdir(path, 0700), 0);
    log_outputs_reopen(outputs);
    write_lines("4\n");
    assert_content(aside, "3\n4\n");
    assert_report("log file cannot be reopened", path, EISDIR, 0);
    assert_no_report();
}
END_TEST

/* --- outputs that fail --- */

START_TEST(a_full_disk_loses_lines_and_counts_them)
{
    char other[SCRATCH_PATH_MAX], real[SCRATCH_PATH_MAX];
    strcpy(other, scratch_path(&scratch, "other.log"));
    strcpy(real, scratch_path(&scratch, "real.log"));
    ck_assert_int_eq(symlink("/dev/full", path), 0);
    open_outputs(path, other);
    write_lines("1\n");
    assert_report("log output failed", path, ENOSPC, 0);
    write_lines("2\n3\n");
    assert_no_report(); /* said once */
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(symlink(real, path), 0);
    log_outputs_reopen(outputs);
    write_lines("4\n");
    assert_report("log lines lost", path, ENOSPC, 3);
    assert_no_report();
    assert_content(real, "4\n");
    assert_content(other, "1\n2\n3\n4\n");
}
END_TEST

static int open_fifo_reader(const char *fifo)
{
    int fd = open(fifo, O_RDONLY | O_NONBLOCK);
    ck_assert_int_ge(fd, 0);
    return fd;
}

START_TEST(a_reader_that_goes_away_ends_nothing)
{
    char text[16] = "";
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    int reader = open_fifo_reader(path);
    open_outputs(path, NULL);
    write_lines("1\n");
    ck_assert_int_eq(read(reader, text, sizeof(text)), 2);
    close(reader);
    write_lines("2\n");
    assert_report("log output failed", path, EPIPE, 0);
    reader = open_fifo_reader(path);
    write_lines("3\n");
    assert_report("log lines lost", path, EPIPE, 1);
    ck_assert_int_eq(read(reader, text, sizeof(text)), 2);
    ck_assert_str_eq(text, "3\n");
    close(reader);
}
END_TEST

/* Reads the pipe to its end, in small and slow pieces at first; the thread's result is the length. */
static void *read_slowly(void *arg)
{
    int fd = *(int *)arg;
    char chunk[4096];
    size_t total = 0;
    for (ssize_t n; (n = read(fd, chunk, total < 20000 ? 100 : sizeof(chunk))) > 0;) {
        total += (size_t)n;
        if (total < 20000)
            sched_yield();
    }
    return (void *)total;
}

START_TEST(a_slow_non_blocking_pipe_gets_every_byte)
{
    static char lines[1 << 20];
    int ends[2];
    pthread_t reader;
    void *total;
    memset(lines, 'x', sizeof(lines) - 2);
    lines[sizeof(lines) - 2] = '\n';
    ck_assert_int_eq(pipe(ends), 0);
    int saved = dup(STDERR_FILENO);
    ck_assert_int_eq(dup2(ends[1], STDERR_FILENO), STDERR_FILENO);
    ck_assert_int_eq(fcntl(STDERR_FILENO, F_SETFL, O_NONBLOCK), 0);
    close(ends[1]);
    open_outputs("stderr", NULL);
    ck_assert_int_eq(pthread_create(&reader, NULL, read_slowly, &ends[0]), 0);
    write_lines(lines);
    while (!log_outputs_settle(outputs)) /* ends by the time limit if it never is */
        sched_yield();
    dup2(saved, STDERR_FILENO);
    close(saved);
    ck_assert_int_eq(pthread_join(reader, &total), 0);
    ck_assert_uint_eq((size_t)total, sizeof(lines) - 1);
    assert_no_report();
    close(ends[0]);
}
END_TEST

START_TEST(a_pipe_that_nobody_reads_holds_up_no_file)
{
    static char block[100000], got[sizeof(block)];
    const char *file = scratch_path(&scratch, "beside.log");
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    int reader = open_fifo_reader(path);
    open_outputs(path, file);
    memset(block, 'x', sizeof(block));
    for (size_t i = 99; i < sizeof(block); i += 100)
        block[i] = '\n';
    size_t blocks = 0;
    for (uint64_t lost = 0; !lost; lost = log_outputs_lost(outputs)) {
        log_outputs_write(outputs, block, sizeof(block));
        blocks++;
        ck_assert(!log_outputs_settle(outputs));
    }
    assert_report("log output failed", path, ENOBUFS, 0);
    struct stat st;
    ck_assert_int_eq(stat(file, &st), 0);
    ck_assert_uint_eq((size_t)st.st_size, sizeof(block)); /* the newest: each fills a file */
    /* All but the block that was lost comes out, and then it is told. */
    size_t taken = 0;
    while (taken < (blocks - 1) * sizeof(block)) {
        ssize_t n = read(reader, got, sizeof(got));
        ck_assert(n > 0 || log_outputs_settle(outputs) || errno == EAGAIN);
        taken += n > 0 ? (size_t)n : 0;
        log_outputs_settle(outputs);
    }
    ck_assert_uint_eq(taken, (blocks - 1) * sizeof(block));
    assert_report("log lines lost", path, ENOBUFS, 1000);
    close(reader);
}
END_TEST

START_TEST(a_line_that_was_cut_off_spoils_only_itself)
{
    static char big[200000], got[sizeof(big)];
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    int reader = open_fifo_reader(path);
    open_outputs(path, NULL);
    memset(big, 'x', sizeof(big));
    big[99] = '\n';
    big[sizeof(big) - 1] = '\n';
    log_outputs_write(outputs, big, sizeof(big));
    assert_no_report();
    close(reader); /* with the pipe full */
    ck_assert(log_outputs_settle(outputs));
    assert_report("log output failed", path, EPIPE, 0);
    reader = open_fifo_reader(path);
    ck_assert_int_eq(read(reader, got, sizeof(got)), 65536);
    ck_assert_mem_eq(got, big, 65536);
    write_lines("whole\n");
    assert_report("log lines lost", path, EPIPE, 1);
    ck_assert_int_eq(read(reader, got, sizeof(got)), 7);
    ck_assert_mem_eq(got, "\nwhole\n", 7);
    close(reader);
}
END_TEST

/* --- rotation --- */

/* Everything that the compressed files and the current one hold, in the order of time. */
static char *all_text(int *ret_compressed, int *ret_plain)
{
    struct dirent **list;
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    *ret_compressed = *ret_plain = 0;
    int n = scandir(scratch.folder, &list, NULL, alphasort);
    ck_assert_int_ge(n, 0);
    for (int i = 0; i < n; i++) {
        const char *name = list[i]->d_name;
        bool compressed = strlen(name) > 3 && !strcmp(name + strlen(name) - 3, ".gz");
        *ret_plain += !compressed && name[0] != '.';
        if (compressed) {
            gzFile gz = gzopen(scratch_path(&scratch, name), "rb");
            char chunk[1000];
            for (int got; (got = gzread(gz, chunk, sizeof(chunk))) > 0;)
                fwrite(chunk, 1, (size_t)got, out);
            ck_assert_int_eq(gzclose(gz), Z_OK);
            ++*ret_compressed;
        }
        free(list[i]);
    }
    free(list);
    char *current = scratch_read(path);
    fputs(current, out);
    free(current);
    fclose(out);
    return text;
}

static void tidy_all(void)
{
    for (int i = 0; log_outputs_tidy(outputs); i++)
        ck_assert_int_lt(i, 10000);
}

START_TEST(full_files_are_moved_compressed_and_removed)
{
    char expected[100 * 25 + 1] = "";
    int compressed, plain;
    open_outputs(path, NULL);
    for (int i = 0; i < 100; i++) {
        char line[32];
        snprintf(line, sizeof(line), "this is line number %03d\n", i);
        strcat(expected, line);
        write_lines(line);
        if (_i == 1)
            tidy_all();
    }
    tidy_all();
    char *text = all_text(&compressed, &plain);
    ck_assert_str_eq(text, expected); /* 1000 bytes hold 41 lines: two full files and one begun */
    ck_assert_int_eq(compressed, 2);
    ck_assert_int_eq(plain, 1);
    free(text);
    for (int i = 0; i < 300; i++)
        write_lines("this is a line as before\n");
    tidy_all();
    text = all_text(&compressed, &plain);
    ck_assert_int_eq(compressed, 3);
    ck_assert_int_eq(plain, 1);
    ck_assert_uint_gt(strlen(text), 3000);
    ck_assert_ptr_null(strstr(text, "number"));
    free(text);
    assert_no_report();
}
END_TEST

START_TEST(a_block_larger_than_a_file_is_written_whole)
{
    char big[5001];
    int compressed, plain;
    memset(big, 'x', sizeof(big) - 1);
    big[sizeof(big) - 2] = '\n';
    big[sizeof(big) - 1] = '\0';
    open_outputs(path, NULL);
    write_lines(big);
    assert_content(path, big);
    write_lines("next\n");
    assert_content(path, "next\n");
    tidy_all();
    free(all_text(&compressed, &plain));
    ck_assert_int_eq(compressed, 1);
}
END_TEST

/* A dated name as it would have been made `days` ago. */
static void make_old(const char *end, int days)
{
    char name[100];
    struct tm tm;
    time_t then = time(NULL) - (time_t)days * 24 * 3600;
    strftime(name, sizeof(name), "egress-%Y-%m-%dT%H-%M-%S", gmtime_r(&then, &tm));
    strcat(name, end);
    scratch_write(scratch_path(&scratch, name), "old\n");
}

static bool exists(const char *name)
{
    return access(scratch_path(&scratch, name), F_OK) == 0;
}

START_TEST(what_an_earlier_run_left_is_compressed_and_removed_by_age)
{
    int compressed, plain;
    make_old(".001.log.gz", 31);
    make_old(".002.log", 32);
    make_old(".003.log", 29);
    scratch_write(scratch_path(&scratch, "egress-notes.log"), "mine\n");
    scratch_write(scratch_path(&scratch, "egress-2020-01-01T00-00-00.000.log.bak"), "mine\n");
    scratch_write(scratch_path(&scratch, "other-2020-01-01T00-00-00.000.log"), "mine\n");
    open_outputs(path, NULL);
    tidy_all();
    char *text = all_text(&compressed, &plain);
    ck_assert_str_eq(text, "old\n");
    ck_assert_int_eq(compressed, 1);
    ck_assert_int_eq(plain, 4);
    ck_assert(exists("egress-notes.log"));
    ck_assert(exists("egress-2020-01-01T00-00-00.000.log.bak"));
    ck_assert(exists("other-2020-01-01T00-00-00.000.log"));
    free(text);
}
END_TEST

START_TEST(an_interrupted_compression_is_done_again)
{
    static char lines[3 << 20];
    int compressed, plain;
    for (size_t i = 0; i < sizeof(lines) - 1; i++)
        lines[i] = i % 50 == 49 ? '\n' : (char)('a' + i * 7 % 26);
    lines[sizeof(lines) - 2] = '\n';
    open_outputs(path, NULL);
    write_lines(lines);
    write_lines("next\n");
    ck_assert(log_outputs_tidy(outputs)); /* begins */
    ck_assert(log_outputs_tidy(outputs)); /* one slice of several */
    log_outputs_free(outputs);
    outputs = NULL;
    free(all_text(&compressed, &plain));
    ck_assert_int_eq(compressed, 0);
    ck_assert_int_eq(plain, 2);
    open_outputs(path, NULL);
    tidy_all();
    char *text = all_text(&compressed, &plain);
    ck_assert_int_eq(compressed, 1);
    ck_assert_int_eq(plain, 1);
    ck_assert_uint_eq(strlen(text), strlen(lines) + 5);
    ck_assert_mem_eq(text, lines, strlen(lines));
    free(text);
}
END_TEST

START_TEST(a_file_that_cannot_be_rotated_grows_on)
{
    /* The dated name would be longer than a name can be. */
    char name[251];
    memset(name, 'n', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    strcpy(path, scratch_path(&scratch, name));
    open_outputs(path, NULL);
    for (int i = 0; i < 100; i++)
        write_lines("this is a line as before\n");
    struct stat st;
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_int_eq(st.st_size, 2500);
    for (int i = 0; i < 2; i++) /* tried once for each thousand bytes */
        assert_report("log file cannot be rotated", path, ENAMETOOLONG, 0);
    assert_no_report();
}
END_TEST

START_TEST(a_file_whose_successor_cannot_be_opened_grows_on)
{
    char lines[1001];
    struct rlimit files, none;
    memset(lines, 'x', sizeof(lines) - 1);
    lines[999] = '\n';
    lines[1000] = '\0';
    open_outputs(path, NULL);
    write_lines(lines);
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &files), 0);
    none = (struct rlimit){.rlim_max = files.rlim_max};
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
    write_lines("next\n");
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &files), 0);
    char *text = scratch_read(path);
    ck_assert_uint_eq(strlen(text), 1005);
    ck_assert_str_eq(text + 1000, "next\n");
    free(text);
    assert_report("log file cannot be rotated", path, EMFILE, 0);
    assert_no_report();
}
END_TEST

START_TEST(a_file_that_was_removed_is_made_again)
{
    char lines[1001];
    memset(lines, 'x', sizeof(lines) - 1);
    lines[999] = '\n';
    lines[1000] = '\0';
    open_outputs(path, NULL);
    write_lines(lines);
    ck_assert_int_eq(unlink(path), 0);
    write_lines("next\n");
    assert_content(path, "next\n");
    assert_no_report();
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("log_output");
    TCase *tc = tcase_create("log_output");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, files_are_appended_to_and_not_for_everybody);
    tcase_add_test(tc, what_cannot_be_opened_is_named);
    tcase_add_test(tc, reopening_goes_by_the_name);
    tcase_add_test(tc, a_full_disk_loses_lines_and_counts_them);
    tcase_add_test(tc, a_reader_that_goes_away_ends_nothing);
    tcase_add_test(tc, a_slow_non_blocking_pipe_gets_every_byte);
    tcase_add_test(tc, a_pipe_that_nobody_reads_holds_up_no_file);
    tcase_add_test(tc, a_line_that_was_cut_off_spoils_only_itself);
    tcase_add_loop_test(tc, full_files_are_moved_compressed_and_removed, 0, 2);
    tcase_add_test(tc, a_block_larger_than_a_file_is_written_whole);
    tcase_add_test(tc, what_an_earlier_run_left_is_compressed_and_removed_by_age);
    tcase_add_test(tc, an_interrupted_compression_is_done_again);
    tcase_add_test(tc, a_file_that_cannot_be_rotated_grows_on);
    tcase_add_test(tc, a_file_whose_successor_cannot_be_opened_grows_on);
    tcase_add_test(tc, a_file_that_was_removed_is_made_again);
    suite_add_tcase(suite, tc);
    return suite;
}
