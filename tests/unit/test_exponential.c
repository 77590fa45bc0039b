#include "base/exponential.h"
#include "tests/unit/random.h"
#include "tests/unit/runner.h"

#include <math.h>
#include <string.h>

#define VALUES 400

static struct random values_random;

/* From a nanosecond to a day, spread over the orders of magnitude. */
static double random_duration(unsigned decades)
{
    double digits = 1 + random_below(&values_random, 9000000) / 1e6;
    return digits * pow(10, (int)random_below(&values_random, decades) - 9);
}

/* As the specification writes it down. */
static int32_t model_bucket(double value, int scale)
{
    return (int32_t)(ceil(log2(value) * exp2(scale)) - 1);
}

static uint64_t total(const struct exponential *e)
{
    uint64_t counts[EXPONENTIAL_SIZE], sum = e->zeros;
    size_t n = exponential_counts(e, counts);
    for (size_t i = 0; i < n; i++)
        sum += counts[i];
    return sum;
}

START_TEST(powers_of_two_are_the_upper_bounds_of_their_buckets)
{
    for (int scale = -10; scale <= EXPONENTIAL_SCALE_MAX; scale++)
        for (int exponent = -40; exponent <= 40; exponent++) {
            double bound = ldexp(1, exponent);
            int32_t expected =
                scale >= 0 ? exponent * (1 << scale) - 1 : (int32_t)ceil(ldexp((double)exponent, scale)) - 1;
            ck_assert_int_eq(exponential_bucket(bound, scale), expected);
            /* The next number above is in the next bucket, the one below is not, where buckets are that fine. */
            int32_t above = (int32_t)floor(ldexp((double)exponent, scale));
            ck_assert_int_eq(exponential_bucket(nextafter(bound, INFINITY), scale), above);
            ck_assert_int_le(exponential_bucket(nextafter(bound, 0), scale), expected);
        }
}
END_TEST

START_TEST(buckets_are_those_of_the_logarithm)
{
    values_random = random_new();
    for (int i = 0; i < 200000; i++) {
        double value = random_duration(15);
        int scale = (int)random_below(&values_random, 31) - 10;
        double exact = log2(value) * exp2(scale);
        if (fabs(exact - round(exact)) < 1e-6) /* the model itself may round to the other side */
            continue;
        ck_assert_msg(exponential_bucket(value, scale) == model_bucket(value, scale), "%.17g at scale %d, seed %#llx",
                      value, scale, (unsigned long long)values_random.seed);
    }
}
END_TEST

START_TEST(extremes_have_buckets)
{
    struct exponential e = {0};
    exponential_record(&e, 0x1p-1074);
    exponential_record(&e, 0x1.fffffffffffffp1023);
    exponential_record(&e, 0);
    ck_assert_uint_eq(total(&e), 3);
    ck_assert_uint_eq(e.zeros, 1);
    ck_assert_int_lt(e.high - e.low, EXPONENTIAL_SIZE);
    ck_assert_int_eq(e.low, model_bucket(0x1p-1074, e.scale));
}
END_TEST

/* The scale is the finest at which the range fits, the buckets are those of the model, and nothing is lost. */
static void expect_model(const struct exponential *e, const double *values, size_t n)
{
    uint64_t model[EXPONENTIAL_SIZE] = {0}, counts[EXPONENTIAL_SIZE];
    double min = INFINITY, max = 0;
    uint64_t zeros = 0;
    for (size_t i = 0; i < n; i++) {
        zeros += values[i] == 0;
        if (values[i] > 0 && values[i] < min)
            min = values[i];
        if (values[i] > max)
            max = values[i];
    }
    ck_assert_uint_eq(e->zeros, zeros);
    ck_assert_int_eq(e->any, max > 0);
    if (!e->any)
        return;
    int32_t scale = EXPONENTIAL_SCALE_MAX;
    while (exponential_bucket(max, scale) - exponential_bucket(min, scale) >= EXPONENTIAL_SIZE)
        scale--;
    int32_t low = exponential_bucket(min, scale);
    for (size_t i = 0; i < n; i++)
        if (values[i] > 0)
            model[exponential_bucket(values[i], scale) - low]++;
    ck_assert_msg(e->scale == scale && e->low == low, "scale %d, low %d: expected %d, %d; seed %#llx", e->scale, e->low,
                  scale, low, (unsigned long long)values_random.seed);
    size_t used = exponential_counts(e, counts);
    ck_assert_uint_eq(used, (size_t)(exponential_bucket(max, scale) - low + 1));
    ck_assert_mem_eq(counts, model, used * sizeof(*counts));
}

START_TEST(any_values_become_the_buckets_of_the_model)
{
    static double values[VALUES];
    values_random = random_new();
    for (int round = 0; round < 300; round++) {
        struct exponential e = {0};
        size_t n = random_below(&values_random, VALUES);
        unsigned decades = 1 + random_below(&values_random, 15);
        for (size_t i = 0; i < n; i++) {
            values[i] = random_below(&values_random, 50) ? random_duration(decades) : 0;
            exponential_record(&e, values[i]);
            if (i % 37 == 0)
                expect_model(&e, values, i + 1);
        }
        expect_model(&e, values, n);
    }
}
END_TEST

/* Also when a part is empty, holds zeros alone, or is of quite another size. */
START_TEST(parts_add_up_to_the_whole)
{
    static double values[VALUES];
    values_random = random_new();
    for (int round = 0; round < 300; round++) {
        struct exponential sum = {0};
        size_t n = 0;
        while (n < VALUES) {
            struct exponential part = {0};
            size_t end = n + random_below(&values_random, 60);
            unsigned decades = 1 + random_below(&values_random, 15);
            bool zeros = random_below(&values_random, 8) == 0;
            for (; n < end && n < VALUES; n++) {
                values[n] = zeros ? 0 : random_duration(decades);
                exponential_record(&part, values[n]);
            }
            exponential_add(&sum, &part);
            expect_model(&sum, values, n);
        }
    }
}
END_TEST

START_TEST(cleared_is_as_new)
{
    struct exponential e = {0};
    exponential_record(&e, 1e-9);
    exponential_record(&e, 1e9);
    exponential_record(&e, 0);
    exponential_clear(&e);
    ck_assert_uint_eq(total(&e), 0);
    exponential_record(&e, 3);
    double value = 3;
    expect_model(&e, &value, 1);
    ck_assert_int_eq(e.scale, EXPONENTIAL_SCALE_MAX);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("exponential");
    TCase *tcase = tcase_create("exponential");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, powers_of_two_are_the_upper_bounds_of_their_buckets);
    tcase_add_test(tcase, buckets_are_those_of_the_logarithm);
    tcase_add_test(tcase, extremes_have_buckets);
    tcase_add_test(tcase, any_values_become_the_buckets_of_the_model);
    tcase_add_test(tcase, parts_add_up_to_the_whole);
    tcase_add_test(tcase, cleared_is_as_new);
    suite_add_tcase(suite, tcase);
    return suite;
}
