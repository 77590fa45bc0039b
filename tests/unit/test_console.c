#include "telemetry/console.h"
#include "tests/unit/runner.h"

#include <string.h>

#define TIME 1795327200123456789ull /* 2026-11-22 06:00:00.123 UTC */
#define START (TIME - 60000000000ull)

static void expect(const struct metrics_data *data, const struct attribute *attributes, size_t n, const char *text)
{
    struct metric_attribute described[] = {{.key = "service.name", .text = "e\"x\n"}, {.key = "pid", .integer = 7}};
    struct resource resource = {described, 2};
    struct buf out = {0};
    console_render(data, &resource, attributes, n, &out);
    ck_assert_str_eq(out.data, text);
    buf_done(&out);
}

START_TEST(a_block_for_each_collection)
{
    static const uint64_t buckets[] = {1, 0, 2};
    static const double bounds[] = {0.005, 0.5};
    static const uint64_t positive[] = {3, 0, 1};
    struct metric_attribute own[] = {{.key = "result", .text = "allowed"}, {.key = "status", .integer = 404}};
    struct metric_point gauge[] = {{.time_ns = TIME, .is_double = true, .number = 0.25}};
    struct metric_point sums[] = {{own, 2, START, TIME, .integer = 3}, {NULL, 0, START, TIME, .integer = -1}};
    struct metric_point explicit[] = {{.start_ns = START,
                                       .time_ns = TIME,
                                       .histogram = {.count = 3,
                                                     .sum = 2.5,
                                                     .has_range = true,
                                                     .min = 0.001,
                                                     .max = 1,
                                                     .bounds = bounds,
                                                     .n_bounds = 2,
                                                     .counts = buckets}}};
    struct metric_point exponential[] = {
        {.start_ns = START,
         .time_ns = TIME,
         .histogram = {
             .count = 5, .sum = 9, .scale = -1, .offset = -1, .positive = positive, .n_positive = 3, .zero_count = 1}}};
    struct metric_data metrics[] = {
        {"a.gauge", "", "1", METRIC_GAUGE, .points = gauge, .n_points = 1},
        {"a.sum", "", "{x}", METRIC_SUM, true, METRIC_DELTA, sums, 2},
        {"a.level", "", "", METRIC_SUM, false, METRIC_CUMULATIVE, sums + 1, 1},
        {"a.time", "", "s", METRIC_HISTOGRAM, false, METRIC_CUMULATIVE, explicit, 1},
        {"b.time", "", "s", METRIC_EXPONENTIAL_HISTOGRAM, false, METRIC_DELTA, exponential, 1},
    };
    struct metrics_data data = {metrics, 5};
    static const struct attribute attributes[] = {{"sandbox_id", "sbx\xC3\xA9"}};
    expect(&data, attributes, 1,
           "metrics of opensandbox/egress at 2026-11-22T06:00:00.123Z service.name=\"e\\\"x\\n\" pid=7, all points: "
           "sandbox_id=\"sbx\xC3\xA9\"\n"
           "  a.gauge 1 gauge\n"
           "    0.25\n"
           "  a.sum {x} monotonic sum, delta since 2026-11-22T05:59:00.123Z\n"
           "    result=\"allowed\" status=404 3\n"
           "    -1\n"
           "  a.level sum, cumulative since 2026-11-22T05:59:00.123Z\n"
           "    -1\n"
           "  a.time s histogram, cumulative since 2026-11-22T05:59:00.123Z\n"
           "    count 3 sum 2.5 min 0.001 max 1 (-inf, 0.005]: 1 (0.5, inf]: 2\n"
           "  b.time s exponential histogram, delta since 2026-11-22T05:59:00.123Z\n"
           "    count 5 sum 9 0: 1 (0.25, 1]: 3 (4, 16]: 1\n"
           "\n");
}
END_TEST

START_TEST(nothing_is_a_block_too)
{
    struct metrics_data data = {0};
    expect(&data, NULL, 0,
           "metrics of opensandbox/egress at 1970-01-01T00:00:00.000Z service.name=\"e\\\"x\\n\" pid=7\n\n");
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("console");
    TCase *tcase = tcase_create("console");
    tcase_add_test(tcase, a_block_for_each_collection);
    tcase_add_test(tcase, nothing_is_a_block_too);
    suite_add_tcase(suite, tcase);
    return suite;
}
