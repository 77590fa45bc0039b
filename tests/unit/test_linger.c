#include "base/linger.h"
#include "tests/unit/runner.h"

#define US 1000ull
#define MS 1000000ull

static struct linger linger;
static uint64_t now;

static void setup(void)
{
    linger = (struct linger){0};
    now = 7000 * MS;
}

/* One look again, before which the processor was with others for so long. */
static void yields(uint64_t took)
{
    linger_begin(&linger, now);
    ck_assert(linger_lasts(&linger, now));
    linger_yielded(&linger, now, took);
    now += took;
}

/* How long it sleeps as usual, in ms, 0: not at all. */
static uint64_t pause_ms(void)
{
    for (uint64_t ms = 0; ms < 5000; ms++, now += MS) {
        linger_begin(&linger, now);
        if (linger_lasts(&linger, now))
            return ms;
    }
    ck_abort_msg("it never looks again");
}

START_TEST(it_ends_when_nothing_comes)
{
    ck_assert(!linger_lasts(&linger, now));
    linger_begin(&linger, now);
    ck_assert(linger_lasts(&linger, now));
    ck_assert(linger_lasts(&linger, now + 199 * US));
    ck_assert(!linger_lasts(&linger, now + 200 * US));
}
END_TEST

START_TEST(each_time_a_lot_comes_it_begins_anew)
{
    for (int i = 0; i < 1000; i++)
        yields(150 * US);
    ck_assert_uint_eq(pause_ms(), 0);
}
END_TEST

START_TEST(a_long_wait_now_and_then_is_no_crowd)
{
    for (int i = 0; i < 100; i++, now += 101 * MS) {
        yields(4 * MS);
        yields(4 * MS);
        ck_assert_uint_eq(pause_ms(), 0);
    }
}
END_TEST

START_TEST(where_others_compute_it_pauses_for_longer_and_longer)
{
    static const uint64_t expected[] = {50, 100, 200, 400, 800, 1000, 1000};
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        for (int wait = 0; wait < 3; wait++)
            yields(3 * MS);
        ck_assert_uint_eq(pause_ms(), expected[i]);
    }
}
END_TEST

START_TEST(when_they_are_done_it_begins_with_the_shortest_pause)
{
    for (int crowd = 0; crowd < 2; crowd++) {
        for (int wait = 0; wait < 3; wait++)
            yields(3 * MS);
        ck_assert_uint_eq(pause_ms(), 50);
        now += 1000 * MS;
    }
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("linger");
    TCase *tc = tcase_create("linger");
    tcase_add_checked_fixture(tc, setup, NULL);
    tcase_add_test(tc, it_ends_when_nothing_comes);
    tcase_add_test(tc, each_time_a_lot_comes_it_begins_anew);
    tcase_add_test(tc, a_long_wait_now_and_then_is_no_crowd);
    tcase_add_test(tc, where_others_compute_it_pauses_for_longer_and_longer);
    tcase_add_test(tc, when_they_are_done_it_begins_with_the_shortest_pause);
    suite_add_tcase(suite, tc);
    return suite;
}
