#include "telemetry/host.h"
#include "tests/unit/runner.h"
#include "tests/unit/scratch.h"

static struct scratch scratch;
static char proc[SCRATCH_PATH_MAX];

static void setup(void)
{
    scratch_make(&scratch);
    strcpy(proc, scratch_path(&scratch, "proc"));
    mkdir(proc, 0700);
}

static void teardown(void)
{
    scratch_remove(&scratch);
}

static void put(const char *name, const char *text)
{
    char path[SCRATCH_PATH_MAX + 16];
    snprintf(path, sizeof(path), "%s/%s", proc, name);
    scratch_write(path, text);
}

START_TEST(memory_is_what_is_not_available)
{
    struct host host = {0};
    struct host_values values;
    put("meminfo", "MemTotal:        8000 kB\nMemFree:  100 kB\nMemAvailable:    3000 kB\nBuffers: 1 kB\n");
    host_read(&host, proc, &values);
    ck_assert_uint_eq(values.memory_used, 5000 * 1024);
}
END_TEST

START_TEST(utilization_is_that_since_the_previous_look)
{
    struct host host = {0}, other = {0};
    struct host_values values;
    put("stat", "cpu  100 10 50 800 40 0 0 0 7 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n");
    host_read(&host, proc, &values);
    ck_assert_double_eq(values.cpu_utilization, 0);
    put("stat", "cpu  120 10 55 860 55 0 0 0 7 0\n"); /* 25 busy, 60 idle, 15 waiting */
    host_read(&host, proc, &values);
    ck_assert_double_eq_tol(values.cpu_utilization, 0.25, 1e-9);
    host_read(&host, proc, &values); /* in the same tick */
    ck_assert_double_eq_tol(values.cpu_utilization, 0.25, 1e-9);
    host_read(&other, proc, &values); /* another reader's first */
    ck_assert_double_eq(values.cpu_utilization, 0);
    put("stat", "cpu  130 10 55 860 50 0 0 5 7 0\n"); /* time spent waiting may go back */
    host_read(&host, proc, &values);
    ck_assert_double_eq(values.cpu_utilization, 1);
}
END_TEST

START_TEST(what_cannot_be_read_is_nothing)
{
    static const char *const broken[] = {"", "MemTotal: x", "cpu", "MemTotal: 1 kB\nMemAvailable: 2 kB\n"};
    struct host host = {0};
    struct host_values values;
    for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
        put("meminfo", broken[i]);
        put("stat", broken[i]);
        host_read(&host, proc, &values);
        ck_assert(values.memory_used == 0 && values.cpu_utilization == 0 && values.resident == 0);
    }
    host_read(&host, "/does/not/exist", &values);
    ck_assert(values.memory_used == 0 && values.cpu_utilization == 0);
}
END_TEST

START_TEST(the_real_one_makes_sense)
{
    struct host host = {0};
    struct host_values values;
    host_read(&host, HOST_PROC, &values);
    ck_assert_uint_gt(values.memory_used, 1 << 20);
    ck_assert_uint_gt(values.resident, 100000);
    ck_assert_uint_lt(values.resident, 1ull << 40);
    ck_assert_double_ge(values.cpu_user_s + values.cpu_system_s, 0);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("host");
    TCase *tcase = tcase_create("host");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, memory_is_what_is_not_available);
    tcase_add_test(tcase, utilization_is_that_since_the_previous_look);
    tcase_add_test(tcase, what_cannot_be_read_is_nothing);
    tcase_add_test(tcase, the_real_one_makes_sense);
    suite_add_tcase(suite, tcase);
    return suite;
}
