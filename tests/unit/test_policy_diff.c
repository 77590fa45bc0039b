/* Which rules a change adds and takes away. */
#include "policy/policy.h"
#include "rules.h"
#include "runner.h"

#include <stdio.h>

/* Rules in the notation of rules_of(). */
static const char *words_of(const struct rule_list *list, char words[1024])
{
    size_t len = 0;
    words[0] = '\0';
    for (size_t i = 0; i < rule_list_count(list); i++)
        len += (size_t)snprintf(words + len, 1024 - len, "%s%c%s", i ? " " : "",
                                rule_list_at(list, i)->action == ACTION_ALLOW ? '+' : '-', rule_list_at(list, i)->text);
    return words;
}

static const struct {
    const char *from, *to, *added, *removed;
    bool reordered;
} changes[] = {
    {"", "", "", "", false},
    {"", "+b.test +a.test", "+b.test +a.test", "", false},
    {"+b.test +a.test", "", "", "+b.test +a.test", false},
    {"+a.test +b.test", "+a.test +b.test", "", "", false},
    {"+a.test +b.test +c.test", "+a.test +x.test +c.test", "+x.test", "+b.test", false},
    {"+a.test +b.test", "+b.test +a.test", "", "", true},
    {"+a.test +b.test", "+c.test +b.test +a.test", "+c.test", "", true},
    {"+a.test", "-a.test", "-a.test", "+a.test", false},
    /* Spelling is no difference, meaning is. */
    {"+A.Test. +10.1.2.3/8 +2001:DB8::1", "+a.test +10.0.0.0/8 +2001:db8::1/128", "", "", false},
    {"+a.test +10.0.0.0/8", "+*.a.test +10.0.0.0/9", "+*.a.test +10.0.0.0/9", "+a.test +10.0.0.0/8", false},
    {"+* +0.0.0.0/0", "+* +::/0", "+::/0", "+0.0.0.0/0", false},
    /* Of equal rules each counts. */
    {"+a.test +b.test +a.test", "+a.test +b.test", "", "+a.test", false},
    {"+a.test", "+a.test +a.test +a.test", "+a.test +a.test", "", false},
};

START_TEST(a_change)
{
    _cleanup_policy_ struct policy *from = policy_of(ACTION_DENY, changes[_i].from);
    _cleanup_policy_ struct policy *to = policy_of(ACTION_DENY, changes[_i].to);
    struct policy_diff diff;
    char words[1024];
    ck_assert_int_eq(policy_diff(from, to, &diff), 0);
    ck_assert_str_eq(words_of(diff.added, words), changes[_i].added);
    ck_assert_str_eq(words_of(diff.removed, words), changes[_i].removed);
    ck_assert_int_eq(diff.reordered, changes[_i].reordered);
    policy_diff_done(&diff);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("policy_diff");
    TCase *tcase = tcase_create("policy_diff");
    tcase_add_loop_test(tcase, a_change, 0, sizeof(changes) / sizeof(changes[0]));
    suite_add_tcase(suite, tcase);
    return suite;
}
