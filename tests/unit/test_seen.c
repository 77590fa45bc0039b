/* The policy that would have allowed what was seen: grouping, limits, order, and that it can be posted. */
#include "policy/policy_json.h"
#include "policy/public_suffix.h"
#include "policy/seen.h"
#include "rules.h"
#include "runner.h"

#include <stdio.h>

static struct seen *seen;

static void setup(void)
{
    ck_assert_int_eq(seen_new(&seen), 0);
}

static void teardown(void)
{
    seen_free(seen);
}

/* Labels may have any octets but dots. */
static size_t wire_of(const char *text, uint8_t wire[256])
{
    size_t len = 0;
    while (*text && strcmp(text, ".")) {
        size_t label = strcspn(text, ".");
        wire[len++] = (uint8_t)label;
        memcpy(wire + len, text, label);
        len += label;
        text += label + (text[label] == '.');
    }
    wire[len++] = 0;
    return len;
}

static void see(const char *names)
{
    char copy[1024], *rest = copy;
    uint8_t wire[256];
    ck_assert_uint_lt(strlen(names), sizeof(copy));
    strcpy(copy, names);
    for (char *name; (name = strsep(&rest, " "));)
        seen_name(seen, wire, wire_of(name, wire));
}

static void see_addr(const char *text)
{
    struct ip_addr addr;
    ck_assert_int_eq(ip_parse(text, &addr), 0);
    seen_addr(seen, &addr);
}

/* The targets of what is suggested, all of them allowed, by default nothing. */
static void suggests(const char *expected)
{
    struct policy *made;
    bool names, addrs;
    char words[2048] = "";
    ck_assert_int_eq(seen_policy(seen, &made, &names, &addrs), 0);
    _cleanup_policy_ struct policy *policy = made;
    ck_assert_int_eq(policy_default(policy), ACTION_DENY);
    for (size_t i = 0, len = 0; i < policy_count(policy); i++) {
        ck_assert_int_eq(policy_rule(policy, i)->action, ACTION_ALLOW);
        len += (size_t)snprintf(words + len, sizeof(words) - len, "%s%s", i ? " " : "", policy_rule(policy, i)->text);
    }
    ck_assert_str_eq(words, expected);
    ck_assert(!names && !addrs);
}

static const struct {
    const char *names, *targets;
} groups[] = {
    {"", "."}, /* the root is a name, too */
    {"example.com", "example.com"},
    {"b.example.com a.example.com a.example.com", "a.example.com b.example.com"},
    {"a.example.com b.example.com c.example.com", "*.example.com"},
    {"c.example.com a.example.com b.example.com d.example.com x.y.example.com", "*.example.com"},
    {"x.y.example.com a.example.com b.example.com c.example.com", "*.example.com"},
    /* The name itself is not below itself, and does not count among its children. */
    {"example.com a.example.com b.example.com", "a.example.com b.example.com example.com"},
    {"example.com a.example.com b.example.com c.example.com", "*.example.com example.com"},
    {"x.y.example.com a.example.com b.example.com", "a.example.com b.example.com x.y.example.com"},
    {"a.x.example.com b.x.example.com c.x.example.com y.example.com z.example.com",
     "*.x.example.com y.example.com z.example.com"},
    /* A wildcard over a wildcard. */
    {"a.x.example.com b.x.example.com c.x.example.com x.example.com y.example.com z.example.com", "*.example.com"},
    /* Below these, names belong to strangers. */
    {"a.com b.com c.com d.com", "a.com b.com c.com d.com"},
    {"a.co.uk b.co.uk c.co.uk", "a.co.uk b.co.uk c.co.uk"},
    {"a.github.io b.github.io c.github.io", "a.github.io b.github.io c.github.io"},
    {"a.b.github.io b.b.github.io c.b.github.io", "*.b.github.io"},
    {"one two three", "one three two"},
    {"a.default.svc.cluster.local b.default.svc.cluster.local c.default.svc.cluster.local",
     "*.default.svc.cluster.local"},
    {"_spf.example.com xn--mnchen-3ya.de", "_spf.example.com xn--mnchen-3ya.de"},
};

START_TEST(names_are_grouped)
{
    see(groups[_i].names);
    suggests(groups[_i].targets);
}
END_TEST

START_TEST(addresses_stay_as_they_are)
{
    see("a.test");
    see_addr("10.0.0.3");
    see_addr("2001:db8::1");
    see_addr("10.0.0.1");
    see_addr("10.0.0.2");
    see_addr("10.0.0.1");
    suggests("a.test 10.0.0.1 10.0.0.2 10.0.0.3 2001:db8::1");
}
END_TEST

START_TEST(it_can_be_posted)
{
    struct policy *made, *read;
    bool names, addrs;
    struct buf text = {0}, again = {0};
    struct why why;
    see("a.example.com b.example.com c.example.com _x.test .");
    see_addr("fd00::1");
    ck_assert_int_eq(seen_policy(seen, &made, &names, &addrs), 0);
    policy_to_json(made, &text);
    ck_assert_int_eq(policy_from_json(text.data, text.len, 0, &read, &why), 0);
    policy_to_json(read, &again);
    ck_assert_uint_eq(text.len, again.len);
    ck_assert_int_eq(memcmp(text.data, again.data, text.len), 0);
    policy_unref(made);
    policy_unref(read);
    buf_done(&text);
    buf_done(&again);
}
END_TEST

static void lacks(bool expected_names, bool expected_addrs, size_t count)
{
    struct policy *policy;
    bool names, addrs;
    ck_assert_int_eq(seen_policy(seen, &policy, &names, &addrs), 0);
    ck_assert(names == expected_names && addrs == expected_addrs);
    ck_assert_uint_eq(policy_count(policy), count);
    policy_unref(policy);
}

START_TEST(names_that_no_rule_can_spell_are_missed)
{
    see("a.test b\x01.test 1.2.3.4");
    lacks(true, false, 1);
    ck_assert(!seen_is_full(seen));
}
END_TEST

START_TEST(invented_names_take_no_room)
{
    char name[64];
    for (unsigned i = 0; i < 100000; i++) {
        snprintf(name, sizeof(name), "n%u.tunnel.example.com", i);
        see(name);
    }
    suggests("*.tunnel.example.com");
}
END_TEST

START_TEST(what_does_not_fit_is_missed)
{
    char name[64];
    for (unsigned i = 0; i < SEEN_NAMES_MAX + 10; i++) {
        snprintf(name, sizeof(name), "n%u", i);
        see(name);
        ck_assert(seen_is_full(seen) == (i >= SEEN_NAMES_MAX));
    }
    lacks(true, false, SEEN_NAMES_MAX);
    see("n5"); /* known */
    for (unsigned i = 0; i < SEEN_ADDRS_MAX + 10; i++)
        seen_addr(seen, &(struct ip_addr){AF_INET, {10, 0, (uint8_t)(i >> 8), (uint8_t)i}});
    lacks(true, true, SEEN_NAMES_MAX + SEEN_ADDRS_MAX);
    ck_assert_uint_eq(SEEN_NAMES_MAX + SEEN_ADDRS_MAX, 4096); /* what MAX_RULES lets through when it is not set */
}
END_TEST

START_TEST(long_names_fill_the_room_as_well)
{
    char name[256];
    for (unsigned i = 0; i < 2000; i++) {
        snprintf(name, sizeof(name), "x%059u.x%059u.x%059u.x%059u", i, i, i, i);
        see(name);
    }
    ck_assert(seen_is_full(seen));
    lacks(true, false, SEEN_BYTES_MAX / (245 + 184)); /* with its parent */
}
END_TEST

START_TEST(a_copy_is_the_same)
{
    struct seen *copy;
    see("a.example.com b.example.com");
    see_addr("10.0.0.1");
    ck_assert_int_eq(seen_copy(seen, &copy), 0);
    seen_free(seen);
    seen = copy;
    see("a.example.com c.example.com");
    see_addr("10.0.0.1");
    suggests("*.example.com 10.0.0.1");
}
END_TEST

START_TEST(public_suffixes)
{
    static const struct {
        const char *name;
        bool is;
    } names[] = {{"", true},         {"com", true},           {"test", true},
                 {"co.uk", true},    {"github.io", true},     {"ck", true},
                 {"any.ck", true},   {"www.ck", false},       {"example.com", false},
                 {"a.co.uk", false}, {"cluster.local", false}};
    uint8_t wire[256];
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        ck_assert_msg(public_suffix_is(wire, wire_of(names[i].name, wire)) == names[i].is, "%s", names[i].name);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("seen");
    TCase *tests = tcase_create("seen");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_loop_test(tests, names_are_grouped, 0, sizeof(groups) / sizeof(groups[0]));
    tcase_add_test(tests, addresses_stay_as_they_are);
    tcase_add_test(tests, it_can_be_posted);
    tcase_add_test(tests, names_that_no_rule_can_spell_are_missed);
    tcase_add_test(tests, invented_names_take_no_room);
    tcase_add_test(tests, what_does_not_fit_is_missed);
    tcase_add_test(tests, long_names_fill_the_room_as_well);
    tcase_add_test(tests, a_copy_is_the_same);
    tcase_add_test(tests, public_suffixes);
    suite_add_tcase(suite, tests);
    return suite;
}
