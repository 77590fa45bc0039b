#include "backoff.h"
#include "tests/unit/runner.h"

#include <stdlib.h>

#define S 1000000000ull
#define MIDDLE (UINT32_MAX / 2) /* a wait that is not varied, but for the last digits */

static struct backoff backoff;

static void setup(void)
{
    backoff_init(&backoff, &backoff_of_sidecar);
}

/* One run that lasts so long; the wait in ms, -1: give up. */
static int64_t run(uint64_t *now, uint64_t seconds, uint32_t random)
{
    uint64_t wait;
    backoff_started(&backoff, *now);
    *now += seconds * S;
    if (!backoff_ended(&backoff, *now, random, &wait))
        return -1;
    *now += wait;
    return (int64_t)((wait + 500000) / 1000000);
}

START_TEST(waits_grow_and_then_it_gives_up)
{
    static const int64_t expected[] = {1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000, 30000, -1};
    uint64_t now = 7 * S;
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++)
        ck_assert_int_eq(run(&now, 0, MIDDLE), expected[i]);
}
END_TEST

START_TEST(waits_vary_by_a_tenth)
{
    uint64_t now = 0;
    ck_assert_int_eq(run(&now, 0, 0), 900);
    ck_assert_int_eq(run(&now, 0, UINT32_MAX), 2200);
    ck_assert_int_eq(run(&now, 0, MIDDLE), 4000); /* of what was not varied */
}
END_TEST

START_TEST(a_good_run_begins_anew)
{
    uint64_t now = 0;
    run(&now, 0, MIDDLE);
    run(&now, 0, MIDDLE);
    ck_assert_int_eq(run(&now, 59, MIDDLE), 4000);
    ck_assert_int_eq(run(&now, 60, MIDDLE), 1000);
    ck_assert_int_eq(run(&now, 0, MIDDLE), 2000);
}
END_TEST

START_TEST(starts_that_are_far_apart_do_not_count)
{
    uint64_t now = 0;
    for (int i = 0; i < 100; i++)
        ck_assert_int_ne(run(&now, 20, MIDDLE), -1); /* soon 50 s from start to start */
}
END_TEST

START_TEST(good_runs_count_as_starts)
{
    static const struct backoff_limits few = {
        .first_ns = S, .longest_ns = 30 * S, .good_ns = 10 * S, .starts = 3, .window_ns = 40 * S};
    uint64_t now = 0;
    backoff_init(&backoff, &few);
    ck_assert_int_eq(run(&now, 10, MIDDLE), 1000);
    ck_assert_int_eq(run(&now, 10, MIDDLE), 1000);
    ck_assert_int_eq(run(&now, 10, MIDDLE), -1);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("backoff");
    TCase *tcase = tcase_create("all");
    tcase_add_checked_fixture(tcase, setup, NULL);
    tcase_add_test(tcase, waits_grow_and_then_it_gives_up);
    tcase_add_test(tcase, waits_vary_by_a_tenth);
    tcase_add_test(tcase, a_good_run_begins_anew);
    tcase_add_test(tcase, starts_that_are_far_apart_do_not_count);
    tcase_add_test(tcase, good_runs_count_as_starts);
    suite_add_tcase(suite, tcase);
    return suite;
}
