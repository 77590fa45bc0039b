#include "runner.h"

#include "base/loop.h"
#include "dns/names_limit.h"
#include "rules.h"

#include <stdio.h>

#define LIMIT 20
#define MINUTE (60 * NS_PER_S)
#define START (1000 * MINUTE)

DEFINE_CLEANUP(struct names_limit, cleanup_limit, names_limit_free);
#define _cleanup_limit_ _cleanup_(cleanup_limit)

static struct names_limit *limit_of(unsigned per_minute)
{
    struct names_limit *limit;
    const struct hash_key key = {{0x0706050403020100, 0x0f0e0d0c0b0a0908}};
    ck_assert_int_eq(names_limit_new(per_minute, &key, &limit), 0);
    return limit;
}

static size_t wire_of(const char *text, uint8_t ret[256])
{
    size_t at = 0;
    while (*text) {
        size_t n = strcspn(text, ".");
        ret[at++] = (uint8_t)n;
        memcpy(ret + at, text, n);
        at += n;
        text += n + (text[n] == '.');
    }
    ret[at] = 0;
    return at + 1;
}

static bool takes(struct names_limit *limit, const struct policy *policy, const char *name, uint64_t now_ns)
{
    uint8_t wire[256];
    size_t len = wire_of(name, wire);
    return names_limit_take(limit, policy_match_name(policy, wire, len), wire, len, now_ns);
}

/* How many of `n` names that were not asked for before get through. */
static unsigned takes_many(struct names_limit *limit, const struct policy *policy, const char *zone, unsigned n,
                           uint64_t now_ns)
{
    static unsigned serial;
    unsigned taken = 0;
    for (unsigned i = 0; i < n; i++) {
        char name[64];
        snprintf(name, sizeof(name), "n%u.%s", serial++, zone);
        taken += takes(limit, policy, name, now_ns);
    }
    return taken;
}

START_TEST(hashes_as_the_paper_says)
{
    const struct hash_key key = {{0x0706050403020100, 0x0f0e0d0c0b0a0908}};
    uint8_t data[15];
    for (uint8_t i = 0; i < sizeof(data); i++)
        data[i] = i;
    ck_assert_uint_eq(keyed_hash(&key, data, 15), 0xa129ca6149be45e5); /* appendix A */
    ck_assert_uint_eq(keyed_hash(&key, data, 0), 0x726fdb47dd0e0e31);
    ck_assert_uint_eq(keyed_hash(&key, data, 8), 0x93f5f5799a932462);
}
END_TEST

START_TEST(new_names_end_at_the_limit_and_known_ones_do_not)
{
    _cleanup_limit_ struct names_limit *limit = limit_of(LIMIT);
    _cleanup_policy_ struct policy *policy = policy_of(ACTION_DENY, "+*.a.test +*.b.test +one.test");
    ck_assert(takes(limit, policy, "known.a.test", START));
    ck_assert_uint_eq(takes_many(limit, policy, "a.test", 100, START), LIMIT - 1);
    for (unsigned i = 0; i < 2 * LIMIT; i++) {
        ck_assert(takes(limit, policy, "known.a.test", START));
        ck_assert(takes(limit, policy, "one.test", START));
        ck_assert(!takes(limit, policy, "new.a.test", START));
    }
    ck_assert_uint_eq(takes_many(limit, policy, "x.y.b.test", 100, START + 1), LIMIT);
}
END_TEST

START_TEST(who_goes_on_asking_stays_out)
{
    _cleanup_limit_ struct names_limit *limit = limit_of(LIMIT);
    _cleanup_policy_ struct policy *policy = policy_of(ACTION_DENY, "+*.a.test");
    uint64_t now = START;
    ck_assert_uint_eq(takes_many(limit, policy, "a.test", LIMIT + 1, now), LIMIT);
    for (int minute = 1; minute < 5; minute++)
        ck_assert_uint_eq(takes_many(limit, policy, "a.test", LIMIT + 1, now += MINUTE), 0);
    ck_assert_uint_eq(takes_many(limit, policy, "a.test", LIMIT, now += MINUTE), 0);
    ck_assert_uint_eq(takes_many(limit, policy, "a.test", LIMIT, now += MINUTE), LIMIT);
    ck_assert_uint_eq(takes_many(limit, policy, "a.test", LIMIT, now += MINUTE), LIMIT);
}
END_TEST

START_TEST(a_refused_name_counts_once_a_minute)
{
    _cleanup_limit_ struct names_limit *limit = limit_of(LIMIT);
    _cleanup_policy_ struct policy *policy = policy_of(ACTION_DENY, "+*.a.test");
    takes_many(limit, policy, "a.test", LIMIT, START);
    for (unsigned i = 0; i < 10 * LIMIT; i++)
        ck_assert(!takes(limit, policy, "again.a.test", START));
    for (unsigned i = 0; i < 10 * LIMIT; i++)
        ck_assert(!takes(limit, policy, "again.a.test", START + MINUTE));
    ck_assert(takes(limit, policy, "again.a.test", START + 2 * MINUTE));
}
END_TEST

START_TEST(names_are_known_for_an_hour_after_the_latest_query)
{
    _cleanup_limit_ struct names_limit *limit = limit_of(LIMIT);
    _cleanup_policy_ struct policy *policy = policy_of(ACTION_DENY, "+*.a.test");
    ck_assert(takes(limit, policy, "often.a.test", START));
    ck_assert(takes(limit, policy, "once.a.test", START));
    ck_assert(takes(limit, policy, "often.a.test", START + 59 * MINUTE));
    uint64_t now = START + 61 * MINUTE;
    ck_assert_uint_eq(takes_many(limit, policy, "a.test", 100, now), LIMIT);
    ck_assert(takes(limit, policy, "often.a.test", now));
    ck_assert(!takes(limit, policy, "once.a.test", now));
}
END_TEST

START_TEST(each_registered_domain_has_its_limit)
{
    _cleanup_limit_ struct names_limit *limit = limit_of(LIMIT);
    _cleanup_policy_ struct policy *any = policy_of(ACTION_DENY, "+*");
    _cleanup_policy_ struct policy *none = policy_of(ACTION_ALLOW, "");
    const struct policy *policies[] = {any, none};
    for (size_t i = 0; i < 2; i++) {
        uint64_t now = START + i * 10 * MINUTE;
        ck_assert_uint_eq(takes_many(limit, policies[i], "a.b.c.d.e.f.g.h.evil.co.uk", 100, now), LIMIT);
        ck_assert_uint_eq(takes_many(limit, policies[i], "evil.co.uk", 100, now), 0);
        ck_assert_uint_eq(takes_many(limit, policies[i], "good.co.uk", 100, now), LIMIT);
        ck_assert_uint_eq(takes_many(limit, policies[i], "user.github.io", LIMIT, now), LIMIT);
        ck_assert_uint_eq(takes_many(limit, policies[i], "com", 200, now), 200);
    }
}
END_TEST

START_TEST(a_flood_makes_nobody_forgotten)
{
    _cleanup_limit_ struct names_limit *limit = limit_of(LIMIT);
    _cleanup_policy_ struct policy *policy = policy_of(ACTION_DENY, "+*.a.test +*.b.test");
    ck_assert(takes(limit, policy, "known.b.test", START));
    ck_assert_uint_eq(takes_many(limit, policy, "a.test", 4 * NAMES_KNOWN, START), LIMIT);
    ck_assert_uint_eq(takes_many(limit, policy, "b.test", LIMIT, START), LIMIT - 1);
    ck_assert(takes(limit, policy, "known.b.test", START));
}
END_TEST

START_TEST(what_is_refused_takes_no_place_of_a_known_name)
{
    enum { MOST = 50000, KNOWN = 16 };
    _cleanup_limit_ struct names_limit *limit = limit_of(MOST);
    _cleanup_policy_ struct policy *policy = policy_of(ACTION_DENY, "+*.a.test +*.b.test");
    char name[32];
    ck_assert_uint_eq(takes_many(limit, policy, "a.test", MOST + 1, START), MOST);
    ck_assert_uint_eq(takes_many(limit, policy, "b.test", MOST - KNOWN, START),
                      MOST - KNOWN); /* all places are taken */
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < KNOWN; i++) {
            snprintf(name, sizeof(name), "known%d.b.test", i);
            ck_assert_msg(takes(limit, policy, name, START), "%s", name);
        }
        ck_assert_uint_eq(takes_many(limit, policy, "a.test", 4 * NAMES_KNOWN, START), 0);
    }
}
END_TEST

START_TEST(known_names_are_bounded_and_the_rest_is_counted)
{
    _cleanup_limit_ struct names_limit *limit = limit_of(NAMES_PER_MINUTE_MAX);
    _cleanup_policy_ struct policy *policy = policy_of(ACTION_DENY, "+*.a.test");
    ck_assert(takes(limit, policy, "early.a.test", START));
    ck_assert_uint_eq(takes_many(limit, policy, "a.test", 4 * NAMES_KNOWN, START + MINUTE), 4 * NAMES_KNOWN);
    ck_assert_uint_eq(takes_many(limit, policy, "a.test", NAMES_PER_MINUTE_MAX, START + MINUTE),
                      NAMES_PER_MINUTE_MAX - 4 * NAMES_KNOWN);
    ck_assert(!takes(limit, policy, "early.a.test", START + MINUTE));
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("names_limit");
    TCase *tcase = tcase_create("names_limit");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, hashes_as_the_paper_says);
    tcase_add_test(tcase, new_names_end_at_the_limit_and_known_ones_do_not);
    tcase_add_test(tcase, who_goes_on_asking_stays_out);
    tcase_add_test(tcase, a_refused_name_counts_once_a_minute);
    tcase_add_test(tcase, names_are_known_for_an_hour_after_the_latest_query);
    tcase_add_test(tcase, each_registered_domain_has_its_limit);
    tcase_add_test(tcase, a_flood_makes_nobody_forgotten);
    tcase_add_test(tcase, what_is_refused_takes_no_place_of_a_known_name);
    tcase_add_test(tcase, known_names_are_bounded_and_the_rest_is_counted);
    suite_add_tcase(suite, tcase);
    return suite;
}
