#include "base/loop.h"
#include "tests/unit/random.h"
#include "tests/unit/runner.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

static struct loop *loop;

static void setup(void)
{
    ck_assert_int_eq(loop_new(&loop), 0);
}

static void teardown(void)
{
    loop_free(loop);
}

static void stop_loop(struct loop_timer *timer)
{
    loop_stop(loop);
}

/* Runs the loop until something stops it; a test that forgets to is ended after five seconds. */
static void run(void)
{
    struct loop_timer limit = {.fire = stop_loop};
    uint64_t due = clock_monotonic_ns() + 5 * NS_PER_S;
    ck_assert_int_eq(loop_timer_set(loop, &limit, due), 0);
    ck_assert_int_eq(loop_run(loop), 0);
    ck_assert_msg(clock_monotonic_ns() < due, "nothing stopped the loop");
    loop_timer_cancel(loop, &limit);
}

/* --- sources --- */

struct bell {
    struct loop_source source;
    int rung;
    struct bell *to_remove; /* removed when this one rings */
};

static void bell_ready(struct loop_source *source, uint32_t events)
{
    struct bell *bell = source->owner;
    uint64_t count;
    ck_assert_uint_eq(events, EPOLLIN);
    ck_assert_int_eq(read(source->fd, &count, sizeof(count)), sizeof(count));
    bell->rung++;
    if (bell->to_remove)
        loop_remove(loop, &bell->to_remove->source);
}

static void bell_new(struct bell *bell, unsigned rings)
{
    *bell = (struct bell){.source = {.fd = eventfd(rings, EFD_NONBLOCK), .ready = bell_ready, .owner = bell}};
    ck_assert_int_eq(loop_add(loop, &bell->source, EPOLLIN), 0);
}

static void stop_at_turn_end(void *turns)
{
    ++*(int *)turns;
    loop_stop(loop);
}

START_TEST(ready_sources_are_told_and_the_turn_ends_once)
{
    struct bell ready, quiet;
    int turns = 0;
    bell_new(&ready, 1);
    bell_new(&quiet, 0);
    loop_on_turn_end(loop, stop_at_turn_end, &turns);
    run();
    ck_assert_int_eq(ready.rung, 1);
    ck_assert_int_eq(quiet.rung, 0);
    ck_assert_int_eq(turns, 1);
    close(ready.source.fd);
    close(quiet.source.fd);
}
END_TEST

static struct bell *first_bell, *other_bell;

static void between(void *times)
{
    ++*(int *)times;
    ck_assert_int_eq(first_bell->rung, 1);
    ck_assert_int_eq(other_bell->rung, 0);
}

START_TEST(sources_that_are_first_are_done_before_the_others)
{
    struct bell bells[2];
    int turns = 0, times = 0;
    bell_new(&bells[0], 1);
    bell_new(&bells[1], 1);
    bells[1].source.first = true;
    first_bell = &bells[1];
    other_bell = &bells[0];
    loop_on_first_done(loop, between, &times);
    loop_on_turn_end(loop, stop_at_turn_end, &turns);
    run();
    ck_assert_int_eq(times, 1);
    ck_assert_int_eq(bells[0].rung, 1);
    for (int i = 0; i < 2; i++)
        close(bells[i].source.fd);
}
END_TEST

START_TEST(nothing_is_done_behind_first_sources_when_there_are_none)
{
    struct bell bell;
    int turns = 0, times = 0;
    bell_new(&bell, 1);
    loop_on_first_done(loop, between, &times);
    loop_on_turn_end(loop, stop_at_turn_end, &turns);
    run();
    ck_assert_int_eq(times, 0);
    ck_assert_int_eq(bell.rung, 1);
    close(bell.source.fd);
}
END_TEST

START_TEST(a_source_removed_in_its_turn_is_not_told)
{
    struct bell bells[2];
    int turns = 0;
    for (int i = 0; i < 2; i++)
        bell_new(&bells[i], 1);
    /* Whichever comes first removes the other, or itself as well. */
    bells[0].to_remove = &bells[1];
    bells[1].to_remove = &bells[0];
    loop_on_turn_end(loop, stop_at_turn_end, &turns);
    run();
    ck_assert_int_eq(bells[0].rung + bells[1].rung, 1);
    for (int i = 0; i < 2; i++)
        close(bells[i].source.fd);
}
END_TEST

START_TEST(a_modified_source_is_told_what_was_asked_for)
{
    struct bell muted, other;
    int turns = 0;
    bell_new(&muted, 1);
    bell_new(&other, 1);
    ck_assert_int_eq(loop_modify(loop, &muted.source, 0), 0);
    loop_on_turn_end(loop, stop_at_turn_end, &turns);
    run();
    ck_assert_int_eq(muted.rung, 0);
    ck_assert_int_eq(other.rung, 1);
    ck_assert_int_eq(loop_add(loop, &other.source, EPOLLIN), -EEXIST);
    close(muted.source.fd);
    close(other.source.fd);
}
END_TEST

/* --- lingering --- */

static void burst_ready(struct loop_source *source, uint32_t events)
{
    uint64_t count;
    ck_assert_int_eq(read(source->fd, &count, sizeof(count)), sizeof(count));
    loop_expect_more(loop);
}

static void count_turn(void *ctx)
{
    ++*(int *)ctx;
}

static uint64_t thread_cpu_ns(void)
{
    struct timespec used;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    return (uint64_t)used.tv_sec * NS_PER_S + (uint64_t)used.tv_nsec;
}

START_TEST(behind_a_lot_it_looks_again_and_then_sleeps)
{
    struct loop_source burst = {.fd = eventfd(1, EFD_NONBLOCK), .ready = burst_ready};
    struct loop_timer end = {.fire = stop_loop};
    int turns = 0;
    ck_assert_int_eq(loop_add(loop, &burst, EPOLLIN), 0);
    loop_on_turn_end(loop, count_turn, &turns);
    uint64_t used = thread_cpu_ns();
    ck_assert_int_eq(loop_timer_set(loop, &end, clock_monotonic_ns() + 100 * NS_PER_MS), 0);
    run();
    ck_assert_int_gt(turns, 2); /* its own, the timer's, and those in between */
    ck_assert_uint_lt(thread_cpu_ns() - used, 20 * NS_PER_MS);
    close(burst.fd);
}
END_TEST

/* --- timers --- */

#define TIMERS 2001

struct alarm {
    struct loop_timer timer;
    int fired;
};

static struct alarm alarms[TIMERS];
static uint64_t last_due;
static int fired, expected;

static void alarm_fire(struct loop_timer *timer)
{
    struct alarm *alarm = timer->owner;
    ck_assert_uint_ge(timer->due_ns, last_due);
    ck_assert_uint_ge(loop_now(loop), timer->due_ns);
    ck_assert_uint_ge(clock_monotonic_ns(), timer->due_ns);
    last_due = timer->due_ns;
    alarm->fired++;
    if (++fired == expected)
        loop_stop(loop);
}

START_TEST(timers_fire_once_in_order_and_never_early)
{
    struct random random = random_new();
    uint64_t now = clock_monotonic_ns();
    memset(alarms, 0, sizeof(alarms));
    for (int i = 0; i < TIMERS; i++) {
        alarms[i].timer = (struct loop_timer){.fire = alarm_fire, .owner = &alarms[i]};
        ck_assert_int_eq(loop_timer_set(loop, &alarms[i].timer, now + random_below(&random, 50000000)), 0);
    }
    for (int i = 0; i < TIMERS; i += 3) /* some are moved, to either side */
        ck_assert_int_eq(loop_timer_set(loop, &alarms[i].timer, now + random_below(&random, 50000000)), 0);
    for (int i = 1; i < TIMERS; i += 3) /* some are cancelled, and once more for nothing */
        for (int again = 0; again < 2; again++)
            loop_timer_cancel(loop, &alarms[i].timer);
    last_due = 0;
    fired = 0;
    expected = TIMERS - TIMERS / 3;
    run();
    for (int i = 0; i < TIMERS; i++)
        ck_assert_msg(alarms[i].fired == (i % 3 != 1), "seed %lu: timer %d fired %d times", (unsigned long)random.seed,
                      i, alarms[i].fired);
}
END_TEST

static void arm_again(struct loop_timer *timer)
{
    ck_assert_int_eq(loop_timer_set(loop, timer, loop_now(loop)), 0);
}

static void stop_when_ready(struct loop_source *source, uint32_t events)
{
    loop_stop(loop);
}

START_TEST(a_timer_that_arms_itself_for_now_does_not_starve_sources)
{
    struct loop_timer timer = {.fire = arm_again};
    struct loop_source source = {.fd = eventfd(0, EFD_NONBLOCK), .ready = stop_when_ready};
    uint64_t one = 1;
    ck_assert_int_eq(loop_add(loop, &source, EPOLLIN), 0);
    ck_assert_int_eq(loop_timer_set(loop, &timer, 0), 0);
    ck_assert_int_eq(write(source.fd, &one, sizeof(one)), sizeof(one));
    run();
    close(source.fd);
}
END_TEST

static struct loop_timer *to_cancel;

static void cancel_other(struct loop_timer *timer)
{
    loop_timer_cancel(loop, to_cancel);
    loop_stop(loop);
}

START_TEST(a_due_timer_can_be_cancelled_by_another)
{
    struct alarm alarm = {.timer = {.fire = alarm_fire, .owner = &alarm}};
    struct loop_timer first = {.fire = cancel_other};
    to_cancel = &alarm.timer;
    ck_assert_int_eq(loop_timer_set(loop, &alarm.timer, 2), 0);
    ck_assert_int_eq(loop_timer_set(loop, &first, 1), 0);
    run();
    ck_assert_int_eq(alarm.fired, 0);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("loop");
    TCase *tc = tcase_create("loop");
    tcase_set_timeout(tc, 20);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, ready_sources_are_told_and_the_turn_ends_once);
    tcase_add_test(tc, sources_that_are_first_are_done_before_the_others);
    tcase_add_test(tc, nothing_is_done_behind_first_sources_when_there_are_none);
    tcase_add_test(tc, a_source_removed_in_its_turn_is_not_told);
    tcase_add_test(tc, a_modified_source_is_told_what_was_asked_for);
    tcase_add_test(tc, behind_a_lot_it_looks_again_and_then_sleeps);
    tcase_add_test(tc, timers_fire_once_in_order_and_never_early);
    tcase_add_test(tc, a_timer_that_arms_itself_for_now_does_not_starve_sources);
    tcase_add_test(tc, a_due_timer_can_be_cancelled_by_another);
    suite_add_tcase(suite, tc);
    return suite;
}
