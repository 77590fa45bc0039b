/* Policies written down in tests. */
#ifndef TESTS_UNIT_RULES_H
#define TESTS_UNIT_RULES_H

#include "base/cleanup.h"
#include "policy/policy.h"

#include <check.h>
#include <string.h>

DEFINE_CLEANUP(struct policy, cleanup_policy, policy_unref);
DEFINE_CLEANUP(struct rule_list, cleanup_rule_list, rule_list_free);
#define _cleanup_policy_ _cleanup_(cleanup_policy)
#define _cleanup_rules_ _cleanup_(cleanup_rule_list)

/* Rules as a list of words, each a target after '+' for allow or '-' for deny. */
static inline struct rule_list *rules_of(const char *words)
{
    struct rule_list *list;
    ck_assert_int_eq(rule_list_new(&list), 0);
    char copy[2048], *rest = copy;
    ck_assert_uint_lt(strlen(words), sizeof(copy));
    strcpy(copy, words);
    for (char *word; (word = strsep(&rest, " "));) {
        struct why why = {""};
        if (*word)
            ck_assert_msg(rule_list_add(list, *word == '+' ? ACTION_ALLOW : ACTION_DENY, word + 1, &why) == 0, "%s: %s",
                          word, why.text);
    }
    return list;
}

static inline struct policy *policy_of(enum action default_action, const char *words)
{
    struct policy *policy;
    ck_assert_int_eq(policy_new(default_action, rules_of(words), &policy), 0);
    return policy;
}

#endif
