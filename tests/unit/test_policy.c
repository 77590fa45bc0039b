/* What matches what. */
#include "policy/domain_index.h"
#include "policy/hash.h"
#include "policy/name.h"
#include "rules.h"
#include "runner.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct rule *match_name(const struct policy *policy, const char *name)
{
    uint8_t wire[NAME_WIRE_MAX];
    size_t len;
    ck_assert_msg(name_from_text(name, wire, &len, NULL) == 0, "%s", name);
    return policy_match_name(policy, wire, len);
}

static const struct rule *match_addr(const struct policy *policy, const char *text)
{
    struct ip_addr addr;
    ck_assert_int_eq(ip_parse(text, &addr), 0);
    return policy_match_addr(policy, &addr);
}

/* The position of the rule, -1 for none. */
static int position(const struct policy *policy, const struct rule *rule)
{
    return rule ? (int)(rule - policy_rule(policy, 0)) : -1;
}

static void check_names(const char *words, ...)
{
    _cleanup_policy_ struct policy *policy = policy_of(ACTION_DENY, words);
    va_list args;
    va_start(args, words);
    for (const char *name; (name = va_arg(args, const char *));) {
        int expected = va_arg(args, int), seen = position(policy, match_name(policy, name));
        ck_assert_msg(seen == expected, "[%s] %s: rule %d, expected %d", words, name, seen, expected);
    }
    va_end(args);
}

START_TEST(a_name_matches_itself_only)
{
    check_names("+example.com", "example.com", 0, "EXAMPLE.COM", 0, "example.com.", 0, "a.example.com", -1, "com", -1,
                ".", -1, "xexample.com", -1, "example.co", -1, NULL);
}
END_TEST

START_TEST(a_wildcard_matches_below_at_any_depth_but_not_itself)
{
    check_names("+*.Example.com.", "a.example.com", 0, "c.b.a.example.com", 0, "example.com", -1, "xexample.com", -1,
                "com", -1, ".", -1, NULL);
}
END_TEST

START_TEST(a_star_matches_every_name)
{
    check_names("+*", ".", 0, "com", 0, "a.b.c.d", 0, NULL);
}
END_TEST

START_TEST(the_first_rule_in_list_order_decides)
{
    check_names("-a.com +*.com -*", "a.com", 0, "b.com", 1, "a.b.com", 1, "com", 2, NULL);
    check_names("+* -a.com", "a.com", 0, NULL);
    check_names("+*.com -a.com -*.a.com +b.a.com", "a.com", 0, "b.a.com", 0, NULL);
    check_names("+*.a.com -*.com +a.com", "b.a.com", 0, "a.com", 1, NULL);
    check_names("-a.com +a.com", "a.com", 0, NULL);
    check_names("+. -*", ".", 0, "a", 1, NULL);
}
END_TEST

START_TEST(addresses_play_no_part_in_names)
{
    check_names("-0.0.0.0/0 -::/0 +a.com", "a.com", 2, "b.com", -1, NULL);
    _cleanup_policy_ struct policy *policy = policy_of(ACTION_DENY, "+* +*.com +a.com");
    ck_assert_ptr_null(match_addr(policy, "1.2.3.4"));
}
END_TEST

START_TEST(unicode_and_a_labels_are_one_name)
{
    check_names("+*.b\xc3\xbc"
                "cher.de",
                "a.xn--bcher-kva.de", 0,
                "x.B\xc3\x9c"
                "CHER.DE",
                0, NULL);
}
END_TEST

START_TEST(the_longest_names_are_matched)
{
    char name[256] = "", rule[300];
    for (int i = 0; i < 126; i++)
        strcat(name, "a.");
    strcat(name, "b");
    snprintf(rule, sizeof(rule), "+%s", name);
    check_names(rule, name, 0, name + 2, -1, NULL);
    snprintf(rule, sizeof(rule), "+*.%s", name + 2);
    check_names(rule, name, 0, name + 2, -1, NULL);
    _cleanup_rules_ struct rule_list *list = rules_of("");
    struct why why;
    snprintf(rule, sizeof(rule), "*.%s", name);
    ck_assert_int_eq(rule_list_add(list, ACTION_ALLOW, rule, &why), -EINVAL);
    ck_assert_ptr_nonnull(strstr(why.text, "below"));
}
END_TEST

START_TEST(a_name_with_the_same_hash_is_another_name)
{
    _cleanup_rules_ struct rule_list *rules = rules_of("+aa.b");
    struct domain_index index;
    ck_assert_int_eq(domain_index_init(&index, rules), 0);
    ck_assert_uint_eq(domain_index_find(&index, (const uint8_t *)"\2aa\1b", 6), 0);

    /* Such a pair is hard to find, so the entry is moved to where cc.b would be. */
    uint64_t hash = hash_bytes(hash_bytes(index.seed, "\1b", 2), "\2cc", 3);
    struct domain_slot entry = index.slots[index.slots[0].len ? 0 : 1];
    entry.hash = (uint32_t)(hash >> 32);
    memset(index.slots, 0, (index.mask + 1) * sizeof(entry));
    struct domain_slot *slot = &index.slots[hash & index.mask];
    *slot = entry;
    ck_assert_uint_eq(domain_index_find(&index, (const uint8_t *)"\2cc\1b", 6), RULE_NONE);
    memcpy(slot->name, "\2cc", 3);
    ck_assert_uint_eq(domain_index_find(&index, (const uint8_t *)"\2cc\1b", 6), 0);
    domain_index_done(&index);
}
END_TEST

START_TEST(targets_are_told_apart)
{
    _cleanup_rules_ struct rule_list *list =
        rules_of("+example.com +*.Example.com. +* +10.1.2.3 +10.1.2.3/8 +2001:DB8::/32 +_a.b");
    static const enum target_kind kinds[] = {TARGET_NAME,   TARGET_WILDCARD, TARGET_ANY, TARGET_PREFIX,
                                             TARGET_PREFIX, TARGET_PREFIX,   TARGET_NAME};
    ck_assert_uint_eq(rule_list_count(list), 7);
    for (size_t i = 0; i < 7; i++)
        ck_assert_int_eq(rule_list_at(list, i)->kind, kinds[i]);
    ck_assert_str_eq(rule_list_at(list, 1)->text, "*.Example.com.");
    ck_assert_uint_eq(rule_list_at(list, 3)->prefix.bits, 32);
    ck_assert_uint_eq(rule_list_at(list, 4)->prefix.addr.bytes[1], 0);
    ck_assert_int_eq(rule_list_add(list, ACTION_DENY, " \t\r\n a.com \v", NULL), 0);
    ck_assert_str_eq(rule_list_at(list, 7)->text, "a.com");
}
END_TEST

START_TEST(what_can_never_match_is_refused_with_a_reason)
{
    static const char *const cases[][2] = {
        {"", "empty"},
        {" \n", "empty"},
        {"*.", "after \"*.\""},
        {"*..", "after \"*.\""},
        {"**", "first label"},
        {"*.*.com", "write *.com"},
        {"*a.com", "first label"},
        {"a.*", "first label"},
        {"https://a.com", "no scheme"},
        {"a.com:443", "no port"},
        {"a.com/x", "no path"},
        {"10.0.0.1:80", "no port"},
        {"10.0.0.0/33", "from 0 to 32"},
        {"10.0.0/8", "CIDR"},
        {"10.0.0.256", "IPv4"},
        {"[::1]", "write ::1"},
        {"::1::", "CIDR"},
        {"fe80::1%eth0", "CIDR"},
        {"::ffff:10.0.0.1", "IPv4-mapped"},
        {"::ffff:10.0.0.0/104", "IPv4-mapped"},
        {"a b.com", "0x20"},
        {"a..com", "empty label"},
        {"-", NULL},
        {"::/0", NULL},
    };
    _cleanup_rules_ struct rule_list *list = rules_of("");
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct why why = {""};
        int error = rule_list_add(list, ACTION_ALLOW, cases[i][0], &why);
        ck_assert_msg(error == (cases[i][1] ? -EINVAL : 0), "\"%s\": %d %s", cases[i][0], error, why.text);
        if (cases[i][1])
            ck_assert_msg(strstr(why.text, cases[i][1]), "\"%s\": \"%s\"", cases[i][0], why.text);
    }
    ck_assert_uint_eq(rule_list_count(list), 2);
    static char huge[100000];
    memset(huge, 'a', sizeof(huge) - 1);
    ck_assert_int_eq(rule_list_add(list, ACTION_ALLOW, huge, NULL), -EINVAL);
}
END_TEST

START_TEST(deny_beats_allow_among_addresses)
{
    _cleanup_policy_ struct policy *policy =
        policy_of(ACTION_DENY, "+10.0.0.0/8 -10.1.0.0/16 +10.1.2.3 -10.1.2.0/24 +10.2.0.1 +10.2.0.0/16 +::1");
    ck_assert_int_eq(position(policy, match_addr(policy, "10.9.9.9")), 0);
    ck_assert_int_eq(position(policy, match_addr(policy, "10.1.9.9")), 1);
    ck_assert_int_eq(position(policy, match_addr(policy, "10.1.2.3")), 1);
    ck_assert_int_eq(position(policy, match_addr(policy, "10.2.0.1")), 0);
    ck_assert_int_eq(position(policy, match_addr(policy, "11.0.0.0")), -1);
    ck_assert_int_eq(position(policy, match_addr(policy, "9.255.255.255")), -1);
    ck_assert_int_eq(position(policy, match_addr(policy, "::1")), 6);
    ck_assert_int_eq(position(policy, match_addr(policy, "::2")), -1);
    struct ip_ranges allowed = policy_ranges(policy, ACTION_ALLOW), denied = policy_ranges(policy, ACTION_DENY);
    ck_assert_uint_eq(allowed.n_v4, 1);
    ck_assert_uint_eq(allowed.n_v6, 1);
    ck_assert_uint_eq(denied.n_v4, 1);
    ck_assert_uint_eq(denied.n_v6, 0);
}
END_TEST

START_TEST(a_denied_ipv4_address_is_denied_in_ipv6_forms)
{
    _cleanup_policy_ struct policy *policy =
        policy_of(ACTION_ALLOW, "+64:ff9b::/96 -10.1.0.0/16 -64:ff9b::10.2.0.0/112 +10.2.0.1 +2002:a01:200::/40");
    ck_assert_int_eq(position(policy, match_addr(policy, "64:ff9b::10.1.2.3")), 1);
    ck_assert_int_eq(position(policy, match_addr(policy, "64:ff9b::10.2.0.1")), 2);
    ck_assert_int_eq(position(policy, match_addr(policy, "64:ff9b::10.3.0.1")), 0);
    ck_assert_int_eq(position(policy, match_addr(policy, "2002:a01:203::1")), 1);
    ck_assert_int_eq(position(policy, match_addr(policy, "2002:a02:1::1")), -1);
    ck_assert_int_eq(position(policy, match_addr(policy, "::10.1.2.3")), -1);
}
END_TEST

/* Octets that end a name, or divide it, where names are text: in wire format a label has any. */
START_TEST(labels_are_compared_by_their_lengths)
{
    static const struct {
        const char *wire;
        size_t len;
        bool allowed;
    } cases[] = {
        {"\3www\7allowed\4test", 18, true},
        {"\x0b"
         "www.allowed\4test",
         18, false}, /* a dot inside of a label */
        {"\3www\x0c"
         "allowed.test",
         18, false},
        {"\x10"
         "www.allowed.test",
         18, false},
        {"\3www\x0d"
         "allowed\0.test",
         19, false}, /* NUL */
        {"\4evil\0", 6, false},
        {"\x10"
         "a.test\0b.allowed\4test",
         23, false},
        {"\6evil\0x\7allowed\4test", 21, true}, /* below it, whatever it is called */
        {"\5exact\4test", 12, true},
        {"\6exact\0\4test", 13, false},
        {"\x0a"
         "exact.test",
         12, false},
        {"\5exact\4test\3com", 16, false},
    };
    _cleanup_policy_ struct policy *policy = policy_of(ACTION_DENY, "+*.allowed.test +exact.test");
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        ck_assert_msg((policy_match_name(policy, (const uint8_t *)cases[i].wire, cases[i].len) != NULL) ==
                          cases[i].allowed,
                      "case %zu", i);
}
END_TEST

START_TEST(an_empty_list_allows_nothing_and_a_narrow_allow_no_wide_deny)
{
    _cleanup_policy_ struct policy *nothing = policy_of(ACTION_DENY, "");
    _cleanup_policy_ struct policy *narrow = policy_of(ACTION_DENY, "+10.1.2.3 +10.1.0.0/16 -10.0.0.0/8");
    struct policy_layers layers = {.policy = nothing};
    static const char *const addrs[] = {"10.1.2.3", "10.1.9.9", "10.9.9.9"};
    ck_assert_int_eq(policy_decide(&layers, (const uint8_t *)"\1a\4test", 8).action, ACTION_DENY);
    for (size_t i = 0; i < 3; i++) {
        struct ip_addr addr;
        ck_assert_int_eq(ip_parse(addrs[i], &addr), 0);
        layers.policy = nothing;
        ck_assert_int_eq(policy_decide_addr(&layers, &addr).action, ACTION_DENY);
        layers.policy = narrow;
        ck_assert_int_eq(policy_decide_addr(&layers, &addr).action, ACTION_DENY);
    }
}
END_TEST

START_TEST(modes)
{
    _cleanup_policy_ struct policy *open = policy_of(ACTION_ALLOW, ""), *closed = policy_of(ACTION_DENY, ""),
                                   *some = policy_of(ACTION_ALLOW, "+*");
    ck_assert_str_eq(policy_mode(open), "allow_all");
    ck_assert_str_eq(policy_mode(closed), "deny_all");
    ck_assert_str_eq(policy_mode(some), "enforcing");
    ck_assert_int_eq(policy_default(open), ACTION_ALLOW);
    ck_assert_uint_eq(policy_count(some), 1);
}
END_TEST

START_TEST(a_reference_keeps_the_policy)
{
    struct policy *policy = policy_of(ACTION_DENY, "+a.com");
    struct policy *second = policy_ref(policy);
    policy_unref(policy);
    ck_assert_str_eq(policy_rule(second, 0)->text, "a.com");
    policy_unref(second);
    policy_unref(NULL);
}
END_TEST

START_TEST(many_rules_keep_their_texts)
{
    enum { RULES = 20000 };
    static char texts[RULES][96];
    _cleanup_rules_ struct rule_list *list = rules_of(""), *copy = rules_of("");
    for (int i = 0; i < RULES; i++) {
        snprintf(texts[i], sizeof(texts[i]), "%s%d.%.*s.example", i % 2 ? "*." : "", i, i % 50 + 1,
                 "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz");
        ck_assert_int_eq(rule_list_add(list, ACTION_ALLOW, texts[i], NULL), 0);
        ck_assert_int_eq(rule_list_copy(copy, rule_list_at(list, (size_t)i)), 0);
    }
    rule_list_free(take_pointer(list));
    for (size_t i = 0; i < RULES; i++)
        ck_assert_str_eq(rule_list_at(copy, i)->text, texts[i]);
    _cleanup_policy_ struct policy *policy = NULL;
    ck_assert_int_eq(policy_new(ACTION_DENY, take_pointer(copy), &policy), 0);
    for (int i = 0; i < RULES; i += 2)
        ck_assert_int_eq(position(policy, match_name(policy, texts[i])), i);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("policy");
    TCase *tc = tcase_create("policy");
    tcase_add_test(tc, a_name_matches_itself_only);
    tcase_add_test(tc, a_wildcard_matches_below_at_any_depth_but_not_itself);
    tcase_add_test(tc, a_star_matches_every_name);
    tcase_add_test(tc, the_first_rule_in_list_order_decides);
    tcase_add_test(tc, addresses_play_no_part_in_names);
    tcase_add_test(tc, unicode_and_a_labels_are_one_name);
    tcase_add_test(tc, the_longest_names_are_matched);
    tcase_add_test(tc, a_name_with_the_same_hash_is_another_name);
    tcase_add_test(tc, targets_are_told_apart);
    tcase_add_test(tc, what_can_never_match_is_refused_with_a_reason);
    tcase_add_test(tc, deny_beats_allow_among_addresses);
    tcase_add_test(tc, a_denied_ipv4_address_is_denied_in_ipv6_forms);
    tcase_add_test(tc, labels_are_compared_by_their_lengths);
    tcase_add_test(tc, an_empty_list_allows_nothing_and_a_narrow_allow_no_wide_deny);
    tcase_add_test(tc, modes);
    tcase_add_test(tc, a_reference_keeps_the_policy);
    tcase_add_test(tc, many_rules_keep_their_texts);
    suite_add_tcase(suite, tc);
    return suite;
}
