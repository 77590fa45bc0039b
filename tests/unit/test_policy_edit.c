/* PATCH, DELETE, and several policies over one another. */
#include "policy/name.h"
#include "rules.h"
#include "runner.h"

#include <stdio.h>

/* What PATCH and DELETE leave, as words again. */
static void check_words(const char *what, size_t n, const struct rule *(*at)(const void *from, size_t i),
                        const void *from, const char *expected)
{
    char seen[2048] = "";
    for (size_t i = 0; i < n; i++) {
        size_t len = strlen(seen);
        snprintf(seen + len, sizeof(seen) - len, "%s%c%s", i ? " " : "",
                 at(from, i)->action == ACTION_ALLOW ? '+' : '-', at(from, i)->text);
    }
    ck_assert_msg(!strcmp(seen, expected), "%s: \"%s\", expected \"%s\"", what, seen, expected);
}

static const struct rule *policy_at(const void *policy, size_t i)
{
    return policy_rule(policy, i);
}

static const struct rule *list_at(const void *list, size_t i)
{
    return rule_list_at(list, i);
}

static void check_patch(const char *base_words, const char *patch_words, const char *expected)
{
    _cleanup_policy_ struct policy *base = policy_of(ACTION_ALLOW, base_words), *patched = NULL;
    _cleanup_rules_ struct rule_list *patch = rules_of(patch_words);
    ck_assert_int_eq(policy_patch(base, patch, &patched), 0);
    check_words("patched", policy_count(patched), policy_at, patched, expected);
    ck_assert_int_eq(policy_default(patched), ACTION_ALLOW);
    check_words("base afterwards", policy_count(base), policy_at, base, base_words);
}

START_TEST(a_patch_goes_in_front_and_replaces_equal_targets)
{
    check_patch("+a.com -b.com", "-c.com", "-c.com +a.com -b.com");
    check_patch("+a.com -b.com", "+B.com.", "+B.com. +a.com");
    check_patch("+10.0.0.1/32 +a.com", "-10.0.0.1", "-10.0.0.1 +a.com");
    check_patch("+10.1.0.0/8", "-10.0.0.0/8", "-10.0.0.0/8");
    check_patch("+10.0.0.0/9", "-10.0.0.0/8", "-10.0.0.0/8 +10.0.0.0/9");
    check_patch("", "-a.com +A.com +*.a.com", "-a.com +*.a.com");
    check_patch("+a.com -a.com +b.com +*", "-c.com", "-c.com +a.com +b.com +*");
    check_patch("+* +a.com", "-* -*", "-* +a.com");
    check_patch("+a.com", "", "+a.com");
}
END_TEST

static void check_remove(const char *base_words, const char *targets, const char *kept, const char *removed)
{
    _cleanup_policy_ struct policy *base = policy_of(ACTION_ALLOW, base_words), *left = NULL;
    _cleanup_rules_ struct rule_list *list = rules_of(targets), *gone = NULL;
    ck_assert_int_eq(policy_remove(base, list, &left, &gone), 0);
    check_words("kept", policy_count(left), policy_at, left, kept);
    check_words("removed", rule_list_count(gone), list_at, gone, removed);
    ck_assert_int_eq(policy_default(left), ACTION_ALLOW);
}

START_TEST(delete_takes_every_rule_with_an_equal_target)
{
    check_remove("+a.com -b.com +A.com.", "-a.COM", "-b.com", "+a.com +A.com.");
    check_remove("+a.com +*.a.com +*", "-*.A.com", "+a.com +*", "+*.a.com");
    check_remove("+a.com +*", "-*", "+a.com", "+*");
    check_remove("+10.0.0.1 -10.0.0.1/32 +10.0.0.0/8", "-10.0.0.1", "+10.0.0.0/8", "+10.0.0.1 -10.0.0.1/32");
    check_remove("+b.com +b.com", "-a.com", "+b.com +b.com", "");
    check_remove("", "-a.com", "", "");
}
END_TEST

START_TEST(the_strongest_layer_with_a_matching_rule_decides)
{
    _cleanup_policy_ struct policy *deny = policy_of(ACTION_DENY, "-bad.com -10.1.2.3"),
                                   *allow = policy_of(ACTION_DENY, "+*.com +10.1.0.0/16"),
                                   *own = policy_of(ACTION_ALLOW, "-*.com -*.org -10.0.0.0/8");
    struct policy_layers layers = {deny, allow, own};
    static const struct {
        const char *subject;
        enum action action;
        enum layer layer;
        const char *rule;
    } cases[] = {
        {"bad.com", ACTION_DENY, LAYER_DENY_ALWAYS, "bad.com"},
        {"good.com", ACTION_ALLOW, LAYER_ALLOW_ALWAYS, "*.com"},
        {"a.org", ACTION_DENY, LAYER_POLICY, "*.org"},
        {"a.net", ACTION_ALLOW, LAYER_POLICY, NULL},
        {"10.1.2.3", ACTION_DENY, LAYER_DENY_ALWAYS, "10.1.2.3"},
        {"10.1.2.4", ACTION_ALLOW, LAYER_ALLOW_ALWAYS, "10.1.0.0/16"},
        {"10.2.0.0", ACTION_DENY, LAYER_POLICY, "10.0.0.0/8"},
        {"11.0.0.0", ACTION_ALLOW, LAYER_POLICY, NULL},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct ip_addr addr;
        uint8_t wire[NAME_WIRE_MAX];
        size_t len;
        bool is_addr = ip_parse(cases[i].subject, &addr) == 0;
        if (!is_addr)
            ck_assert_int_eq(name_from_text(cases[i].subject, wire, &len, NULL), 0);
        struct decision seen = is_addr ? policy_decide_addr(&layers, &addr) : policy_decide(&layers, wire, len);
        ck_assert_msg(seen.action == cases[i].action && seen.layer == cases[i].layer, "%s", cases[i].subject);
        ck_assert_pstr_eq(seen.rule ? seen.rule->text : NULL, cases[i].rule);
    }
    layers.deny_always = layers.allow_always = NULL;
    uint8_t root = 0;
    ck_assert_int_eq(policy_decide(&layers, &root, 1).action, ACTION_ALLOW);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("policy_edit");
    TCase *tc = tcase_create("policy_edit");
    tcase_add_test(tc, a_patch_goes_in_front_and_replaces_equal_targets);
    tcase_add_test(tc, delete_takes_every_rule_with_an_equal_target);
    tcase_add_test(tc, the_strongest_layer_with_a_matching_rule_decides);
    suite_add_tcase(suite, tc);
    return suite;
}
