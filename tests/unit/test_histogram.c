#include "base/histogram.h"
#include "base/request_streams.h"
#include "tests/unit/random.h"
#include "tests/unit/runner.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#define RECORDS 300000u

static uint64_t bucket_sum(const struct histogram_values *values)
{
    uint64_t sum = 0;
    for (size_t i = 0; i <= HISTOGRAM_BOUNDS; i++)
        sum += values->buckets[i];
    return sum;
}

START_TEST(a_bound_belongs_to_the_bucket_below_it)
{
    struct histogram h = {0};
    for (size_t i = 0; i < HISTOGRAM_BOUNDS; i++) {
        histogram_record(&h, histogram_bounds[i]);
        histogram_record(&h, nextafter(histogram_bounds[i], INFINITY));
    }
    histogram_record(&h, 0);
    const struct histogram_values *values = histogram_take(&h);
    ck_assert_uint_eq(values->buckets[0], 2);
    for (size_t i = 1; i < HISTOGRAM_BOUNDS; i++)
        ck_assert_uint_eq(values->buckets[i], 2);
    ck_assert_uint_eq(values->buckets[HISTOGRAM_BOUNDS], 1);
    ck_assert_uint_eq(values->count, 2 * HISTOGRAM_BOUNDS + 1);
}
END_TEST

START_TEST(what_is_no_duration_is_not_counted)
{
    struct histogram h = {.exponential = true};
    histogram_record(&h, -1e-9);
    histogram_record(&h, NAN);
    histogram_record(&h, INFINITY);
    ck_assert_uint_eq(histogram_take(&h)->count, 0);
}
END_TEST

START_TEST(only_what_is_asked_for_is_recorded)
{
    struct histogram h = {0};
    histogram_record(&h, 1);
    ck_assert(!histogram_take(&h)->exponential.any);
    h.exponential = true;
    histogram_record(&h, 1);
    ck_assert(histogram_take(&h)->exponential.any);
}
END_TEST

/* Each interval is the values of the interval, range included; their sum is everything. */
START_TEST(intervals_are_the_model_and_add_up)
{
    struct random random = random_new();
    struct histogram h = {.exponential = true};
    struct histogram_values whole = {0}, model_whole = {0};
    for (int interval = 0; interval < 200; interval++) {
        struct histogram_values model = {0};
        unsigned n = random_below(&random, 300);
        for (unsigned i = 0; i < n; i++) {
            double value = exp2((int)random_below(&random, 24) - 18) * (1 + random_below(&random, 1000));
            histogram_record(&h, value);
            model.min = !model.count || value < model.min ? value : model.min;
            model.max = !model.count || value > model.max ? value : model.max;
            model.count++;
            model.sum += value;
            size_t bucket = 0;
            for (size_t k = 0; k < HISTOGRAM_BOUNDS; k++)
                bucket += value > histogram_bounds[k];
            model.buckets[bucket]++;
            exponential_record(&model.exponential, value);
        }
        const struct histogram_values *taken = histogram_take(&h);
        ck_assert_uint_eq(taken->count, model.count);
        ck_assert_double_eq(taken->sum, model.sum);
        ck_assert_double_eq(taken->min, model.min);
        ck_assert_double_eq(taken->max, model.max);
        ck_assert_mem_eq(taken->buckets, model.buckets, sizeof(model.buckets));
        histogram_values_add(&whole, taken);
        histogram_values_add(&model_whole, &model);
    }
    ck_assert_uint_eq(whole.count, model_whole.count);
    ck_assert_uint_eq(bucket_sum(&whole), whole.count);
    ck_assert_double_eq(whole.min, model_whole.min);
    ck_assert_double_eq(whole.max, model_whole.max);
    ck_assert_int_eq(whole.exponential.scale, model_whole.exponential.scale);
    ck_assert_mem_eq(whole.exponential.counts, model_whole.exponential.counts, sizeof(whole.exponential.counts));
}
END_TEST

/* --- two threads --- */

static struct histogram shared;
static atomic_bool written;

/* One nanosecond, two, three … : each interval must hold a run of them without a gap. */
static void *write_all(void *arg)
{
    for (unsigned i = 1; i <= RECORDS; i++)
        histogram_record(&shared, i);
    written = true;
    return NULL;
}

static void expect_run(const struct histogram_values *values, uint64_t *last)
{
    if (!values->count)
        return;
    double first = (double)*last + 1, end = (double)(*last + values->count);
    ck_assert_double_eq(values->min, first);
    ck_assert_double_eq(values->max, end);
    ck_assert_double_eq(values->sum, (first + end) / 2 * (double)values->count); /* whole numbers below 2^53: exact */
    ck_assert_uint_eq(bucket_sum(values), values->count);
    uint64_t counts[EXPONENTIAL_SIZE], sum = 0;
    size_t n = exponential_counts(&values->exponential, counts);
    for (size_t i = 0; i < n; i++)
        sum += counts[i];
    ck_assert_uint_eq(sum, values->count);
    *last += values->count;
}

START_TEST(a_reader_never_sees_half_a_record)
{
    pthread_t writer;
    uint64_t last = 0;
    shared.exponential = true;
    ck_assert_int_eq(pthread_create(&writer, NULL, write_all, NULL), 0);
    bool end;
    do {
        end = written;
        expect_run(histogram_take(&shared), &last);
    } while (!end);
    pthread_join(writer, NULL);
    expect_run(histogram_take(&shared), &last);
    ck_assert_uint_eq(last, RECORDS);
}
END_TEST

/* --- requests --- */

static struct request_streams streams;

static void forget_requests(void)
{
    memset(&streams, 0, sizeof(streams));
}

START_TEST(requests_are_told_apart)
{
    static const char get[] = "GET", post[] = "POST", policy[] = "/policy";
    for (int i = 0; i < 3; i++)
        request_streams_record(&streams, get, policy, 200, 0.01);
    request_streams_record(&streams, post, policy, 200, 0.01);
    request_streams_record(&streams, post, policy, 400, 0.01);
    ck_assert_uint_eq(request_streams_count(&streams), 3);
    ck_assert_ptr_eq(streams.list[0].method, get);
    ck_assert_uint_eq(histogram_take(&streams.list[0].duration)->count, 3);
    ck_assert_uint_eq(streams.list[2].status, 400);
    ck_assert_uint_eq(histogram_take(&streams.list[2].duration)->count, 1);
}
END_TEST

START_TEST(a_full_table_counts_the_rest_together)
{
    static const char get[] = "GET", policy[] = "/policy";
    for (unsigned status = 1; status <= REQUEST_STREAMS + 10; status++)
        request_streams_record(&streams, get, policy, status, 0.01);
    request_streams_record(&streams, get, policy, 1, 0.01);
    ck_assert_uint_eq(request_streams_count(&streams), REQUEST_STREAMS);
    const struct request_stream *rest = &streams.list[REQUEST_STREAMS - 1];
    ck_assert(!rest->method && !rest->route && !rest->status);
    ck_assert_uint_eq(histogram_take(&streams.list[REQUEST_STREAMS - 1].duration)->count, 11);
    ck_assert_uint_eq(histogram_take(&streams.list[0].duration)->count, 2);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("histogram");
    TCase *tcase = tcase_create("histogram");
    tcase_add_checked_fixture(tcase, forget_requests, NULL);
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, a_bound_belongs_to_the_bucket_below_it);
    tcase_add_test(tcase, what_is_no_duration_is_not_counted);
    tcase_add_test(tcase, only_what_is_asked_for_is_recorded);
    tcase_add_test(tcase, intervals_are_the_model_and_add_up);
    tcase_add_test(tcase, a_reader_never_sees_half_a_record);
    tcase_add_test(tcase, requests_are_told_apart);
    tcase_add_test(tcase, a_full_table_counts_the_rest_together);
    suite_add_tcase(suite, tcase);
    return suite;
}
