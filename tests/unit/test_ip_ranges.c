#include "base/ip_ranges.h"
#include "random.h"
#include "runner.h"

#include <inttypes.h>
#include <string.h>

#define PREFIXES_MAX 24

/* Builds ranges of a space-separated list, in two halves, and compares them, as text, with what is expected. */
static void check_merged(const char *prefixes, const char *expected)
{
    struct ip_prefix parsed[PREFIXES_MAX];
    size_t n = 0;
    char copy[512], seen[1024] = "", *rest = copy;
    ck_assert_uint_lt(strlen(prefixes), sizeof(copy));
    strcpy(copy, prefixes);
    for (char *text; (text = strsep(&rest, " "));)
        if (*text)
            ck_assert_int_eq(ip_prefix_parse(text, &parsed[n++]), 0);
    /* Any half of them joined with the rest is the same. */
    struct ip_ranges left, right, ranges;
    ck_assert_int_eq(ip_ranges_build(parsed, n / 2, &left), 0);
    ck_assert_int_eq(ip_ranges_build(parsed + n / 2, n - n / 2, &right), 0);
    ck_assert_int_eq(ip_ranges_join(&left, &right, &ranges), 0);
    ip_ranges_done(&left);
    ip_ranges_done(&right);
    for (size_t i = 0; i < ranges.n_v4 + ranges.n_v6; i++) {
        const struct ip_range *range = i < ranges.n_v4 ? &ranges.v4[i] : &ranges.v6[i - ranges.n_v4];
        char first[IP_TEXT_MAX], last[IP_TEXT_MAX];
        size_t len = strlen(seen);
        snprintf(seen + len, sizeof(seen) - len, "%s%s-%s", len ? " " : "", ip_format(&range->first, first),
                 ip_format(&range->last, last));
    }
    ip_ranges_done(&ranges);
    ck_assert_str_eq(seen, expected);
}

START_TEST(overlapping_and_adjacent_prefixes_become_one_range)
{
    check_merged("", "");
    check_merged("10.0.0.1", "10.0.0.1-10.0.0.1");
    check_merged("10.0.0.2 10.0.0.1", "10.0.0.1-10.0.0.2");
    check_merged("10.0.0.3 10.0.0.1", "10.0.0.1-10.0.0.1 10.0.0.3-10.0.0.3");
    check_merged("10.1.0.0/16 10.0.0.0/8 10.255.255.255", "10.0.0.0-10.255.255.255");
    check_merged("10.0.0.0/8 11.0.0.0/8 9.0.0.0/8", "9.0.0.0-11.255.255.255");
    check_merged("10.0.0.1 10.0.0.1 10.0.0.1", "10.0.0.1-10.0.0.1");
    check_merged("0.0.0.0/0 255.255.255.255 1.2.3.4", "0.0.0.0-255.255.255.255");
    check_merged("255.255.255.255 ::", "255.255.255.255-255.255.255.255 ::-::");
    check_merged("::/0 10.0.0.0/8", "10.0.0.0-10.255.255.255 ::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
    check_merged("2001:db8:1::/48 2001:db8::/48", "2001:db8::-2001:db8:1:ffff:ffff:ffff:ffff:ffff");
}
END_TEST

static bool naive_contains(const struct ip_prefix *prefixes, size_t n, const struct ip_addr *addr)
{
    for (size_t i = 0; i < n; i++) {
        struct ip_range range = ip_prefix_range(&prefixes[i]);
        if (range.first.family == addr->family && ip_compare(&range.first, addr) <= 0 &&
            ip_compare(&range.last, addr) >= 0)
            return true;
    }
    return false;
}

/* Few bits vary, at both ends of both address spaces, so that neighbours and nesting are frequent. */
static struct ip_addr random_addr(struct random *random)
{
    uint8_t bytes[16] = {0};
    memset(bytes, random_below(random, 2) ? 0xff : 0, sizeof(bytes));
    bool v4 = random_below(random, 2);
    uint8_t *last = &bytes[v4 ? 3 : 15];
    *last = (uint8_t)((*last & 0xe0) | random_below(random, 32));
    return v4 ? ip_from_v4(bytes) : ip_from_v6(bytes);
}

static void check_order(const struct ip_range *ranges, size_t n, uint64_t seed)
{
    for (size_t i = 0; i + 1 < n; i++) {
        struct ip_addr next;
        ck_assert_msg(ip_next(&ranges[i].last, &next) && ip_compare(&next, &ranges[i + 1].first) < 0,
                      "TEST_SEED=%" PRIu64 ": adjacent, overlapping or unsorted", seed);
    }
}

START_TEST(ranges_agree_with_a_walk_over_the_prefixes)
{
    struct random random = random_new();
    for (int round = 0; round < 3000; round++) {
        struct ip_prefix prefixes[PREFIXES_MAX];
        size_t n = random_below(&random, PREFIXES_MAX + 1);
        for (size_t i = 0; i < n; i++) {
            struct ip_addr addr = random_addr(&random);
            char text[IP_TEXT_MAX + 8], ip[IP_TEXT_MAX];
            snprintf(text, sizeof(text), "%s/%zu", ip_format(&addr, ip),
                     ip_size(addr.family) * 8 - random_below(&random, 6));
            ck_assert_int_eq(ip_prefix_parse(text, &prefixes[i]), 0);
        }
        struct ip_ranges ranges;
        ck_assert_int_eq(ip_ranges_build(prefixes, n, &ranges), 0);
        check_order(ranges.v4, ranges.n_v4, random.seed);
        check_order(ranges.v6, ranges.n_v6, random.seed);
        for (int i = 0; i < 30; i++) {
            struct ip_addr addr = random_addr(&random);
            char text[IP_TEXT_MAX];
            ck_assert_msg(ip_ranges_contain(&ranges, &addr) == naive_contains(prefixes, n, &addr),
                          "TEST_SEED=%" PRIu64 " round %d: %s", random.seed, round, ip_format(&addr, text));
        }
        ip_ranges_done(&ranges);
    }
}
END_TEST

static void random_ranges(struct random *random, struct ip_prefix prefixes[PREFIXES_MAX], size_t *ret_n,
                          struct ip_ranges *ret)
{
    *ret_n = random_below(random, 12);
    for (size_t i = 0; i < *ret_n; i++) {
        struct ip_addr addr = random_addr(random);
        prefixes[i] = (struct ip_prefix){addr, (uint8_t)(ip_size(addr.family) * 8 - random_below(random, 4))};
        char text[IP_TEXT_MAX + 4], literal[IP_TEXT_MAX];
        snprintf(text, sizeof(text), "%s/%u", ip_format(&addr, literal), prefixes[i].bits);
        ck_assert_int_eq(ip_prefix_parse(text, &prefixes[i]), 0);
    }
    ck_assert_int_eq(ip_ranges_build(prefixes, *ret_n, ret), 0);
}

START_TEST(within_agrees_with_a_walk_over_the_addresses)
{
    struct random random = random_new();
    unsigned n_within = 0;
    for (int round = 0; round < 20000; round++) {
        struct ip_prefix prefixes[PREFIXES_MAX];
        struct ip_ranges inner, outer;
        size_t n_inner, n_outer;
        random_ranges(&random, prefixes, &n_outer, &outer);
        random_ranges(&random, prefixes, &n_inner, &inner);
        bool expected = true;
        for (size_t i = 0; i < n_inner; i++) {
            struct ip_range range = ip_prefix_range(&prefixes[i]);
            struct ip_addr addr = range.first;
            expected &= ip_ranges_contain(&outer, &addr);
            while (!ip_equal(&addr, &range.last) && ip_next(&addr, &addr))
                expected &= ip_ranges_contain(&outer, &addr);
        }
        ck_assert_msg(ip_ranges_within(&inner, &outer) == expected, "TEST_SEED=%" PRIu64, random.seed);
        n_within += expected;
        ip_ranges_done(&inner);
        ip_ranges_done(&outer);
    }
    ck_assert_uint_gt(n_within, 100);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("ip_ranges");
    TCase *tc = tcase_create("ip_ranges");
    tcase_add_test(tc, overlapping_and_adjacent_prefixes_become_one_range);
    tcase_add_test(tc, ranges_agree_with_a_walk_over_the_prefixes);
    tcase_add_test(tc, within_agrees_with_a_walk_over_the_addresses);
    suite_add_tcase(suite, tc);
    return suite;
}
