/* Random policies against a plain walk over their rules, written without looking at how policies are compiled. */
#include "base/ip_ranges.h"
#include "policy/name.h"
#include "random.h"
#include "rules.h"
#include "runner.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>

#define ROUNDS 4000
#define RULES_MOST 32
#define NAME_MOST 256

/* A rule of the model. */
struct plain {
    bool allow, is_prefix;
    char target[NAME_MOST + 2];  /* names: lower-case; prefixes: family, first address, host bits */
    char spelled[NAME_MOST + 3]; /* the same as somebody might write it */
    unsigned family, value, host_bits;
};

struct plain_list {
    struct plain rules[RULES_MOST * 2];
    size_t n;
};

/* Three labels, one of them long, in up to five levels: everything collides with something. */
static void random_name(struct random *random, char ret[NAME_MOST])
{
    static const char *const labels[] = {"a", "ab", "a-label-that-makes-the-longer-names-long"};
    ret[0] = '\0';
    for (unsigned n = random_below(random, 6); n > 0; n--) {
        strcat(ret, labels[random_below(random, 3)]);
        strcat(ret, n > 1 ? "." : "");
    }
    if (!*ret)
        strcpy(ret, ".");
}

static void random_addr_text(unsigned family, unsigned value, char ret[NAME_MOST])
{
    snprintf(ret, NAME_MOST, family ? "fd00::%x" : "10.0.0.%u", value);
}

static struct plain random_rule(struct random *random)
{
    struct plain rule = {.allow = random_below(random, 2)};
    char name[NAME_MOST];
    unsigned kind = random_below(random, 10);
    if (kind < 3) {
        rule.is_prefix = true;
        rule.family = random_below(random, 2);
        rule.value = random_below(random, 32);
        rule.host_bits = random_below(random, 6);
        random_addr_text(rule.family, rule.value, name);
        snprintf(rule.target, sizeof(rule.target), "%u %u %u", rule.family, rule.value >> rule.host_bits,
                 rule.host_bits);
        bool bare = !rule.host_bits && random_below(random, 2);
        snprintf(rule.spelled, sizeof(rule.spelled), bare ? "%s" : "%s/%u", name,
                 (rule.family ? 128 : 32) - rule.host_bits);
        return rule;
    }
    random_name(random, name);
    bool root = !strcmp(name, ".");
    if (kind == 3)
        strcpy(rule.target, "*");
    else
        snprintf(rule.target, sizeof(rule.target), "%s%s", kind < 7 && !root ? "*." : "", name);
    bool dot = kind != 3 && !root && random_below(random, 3) == 0;
    snprintf(rule.spelled, sizeof(rule.spelled), "%s%s", rule.target, dot ? "." : "");
    for (char *c = rule.spelled; *c; c++)
        if (random_below(random, 3) == 0)
            *c = (char)toupper(*c);
    return rule;
}

static void random_rules(struct random *random, unsigned most, struct plain_list *ret)
{
    ret->n = random_below(random, most + 1);
    for (size_t i = 0; i < ret->n; i++)
        ret->rules[i] = random_rule(random);
}

static struct rule_list *real_rules(const struct plain_list *plain)
{
    struct rule_list *list;
    ck_assert_int_eq(rule_list_new(&list), 0);
    for (size_t i = 0; i < plain->n; i++) {
        struct why why = {""};
        const struct plain *rule = &plain->rules[i];
        ck_assert_msg(!rule_list_add(list, rule->allow ? ACTION_ALLOW : ACTION_DENY, rule->spelled, &why), "%s",
                      why.text);
    }
    return list;
}

static struct policy *real_policy(const struct plain_list *plain)
{
    struct policy *policy;
    ck_assert_int_eq(policy_new(ACTION_DENY, real_rules(plain), &policy), 0);
    return policy;
}

static bool plain_matches_name(const struct plain *rule, const char *name)
{
    if (rule->is_prefix)
        return false;
    if (!strcmp(rule->target, "*"))
        return true;
    if (strncmp(rule->target, "*.", 2))
        return !strcmp(rule->target, name);
    const char *suffix = rule->target + 1; /* with its dot */
    size_t len = strlen(name), suffix_len = strlen(suffix);
    return len > suffix_len && !strcmp(name + len - suffix_len, suffix);
}

static bool plain_matches_addr(const struct plain *rule, unsigned family, unsigned value)
{
    return rule->is_prefix && rule->family == family && (rule->value ^ value) >> rule->host_bits == 0;
}

static const struct rule *plain_decision_for_addr(const struct plain_list *rules, const struct policy *policy,
                                                  unsigned family, unsigned value)
{
    for (int allow = 0; allow < 2; allow++)
        for (size_t i = 0; i < rules->n; i++)
            if (rules->rules[i].allow == allow && plain_matches_addr(&rules->rules[i], family, value))
                return policy_rule(policy, i);
    return NULL;
}

START_TEST(names_get_the_first_rule_that_matches)
{
    struct random random = random_new();
    for (int round = 0; round < ROUNDS; round++) {
        struct plain_list rules;
        random_rules(&random, RULES_MOST, &rules);
        _cleanup_policy_ struct policy *policy = real_policy(&rules);
        for (int i = 0; i < 25; i++) {
            char name[NAME_MOST];
            uint8_t wire[NAME_WIRE_MAX];
            size_t len, expected = 0;
            random_name(&random, name);
            ck_assert_int_eq(name_from_text(name, wire, &len, NULL), 0);
            while (expected < rules.n && !plain_matches_name(&rules.rules[expected], name))
                expected++;
            const struct rule *seen = policy_match_name(policy, wire, len);
            ck_assert_msg(seen == (expected < rules.n ? policy_rule(policy, expected) : NULL),
                          "TEST_SEED=%" PRIu64 " round %d: %s got \"%s\", not rule %zu", random.seed, round, name,
                          seen ? seen->text : "none", expected);
        }
    }
}
END_TEST

START_TEST(addresses_get_the_first_deny_or_else_the_first_allow)
{
    struct random random = random_new();
    for (int round = 0; round < ROUNDS; round++) {
        struct plain_list rules;
        random_rules(&random, RULES_MOST, &rules);
        _cleanup_policy_ struct policy *policy = real_policy(&rules);
        struct ip_ranges ranges[] = {policy_ranges(policy, ACTION_DENY), policy_ranges(policy, ACTION_ALLOW)};
        for (unsigned i = 0; i < 64; i++) {
            char text[NAME_MOST];
            struct ip_addr addr;
            random_addr_text(i / 32, i % 32, text);
            ck_assert_int_eq(ip_parse(text, &addr), 0);
            const struct rule *seen = policy_match_addr(policy, &addr);
            ck_assert_msg(seen == plain_decision_for_addr(&rules, policy, i / 32, i % 32),
                          "TEST_SEED=%" PRIu64 " round %d: %s got \"%s\"", random.seed, round, text,
                          seen ? seen->text : "none");
            bool in[2] = {false, false};
            for (size_t k = 0; k < rules.n; k++)
                in[rules.rules[k].allow] |= plain_matches_addr(&rules.rules[k], i / 32, i % 32);
            for (int action = 0; action < 2; action++)
                ck_assert_msg(ip_ranges_contain(&ranges[action], &addr) == in[action],
                              "TEST_SEED=%" PRIu64 " round %d: %s in ranges of %d", random.seed, round, text, action);
        }
    }
}
END_TEST

static bool among(const struct plain *rule, const struct plain_list *list)
{
    for (size_t i = 0; i < list->n; i++)
        if (rule->is_prefix == list->rules[i].is_prefix && !strcmp(rule->target, list->rules[i].target))
            return true;
    return false;
}

static void append_new(struct plain_list *list, const struct plain_list *from)
{
    for (size_t i = 0; i < from->n; i++)
        if (!among(&from->rules[i], list))
            list->rules[list->n++] = from->rules[i];
}

static bool same(const struct plain *plain, const struct rule *rule)
{
    return plain->allow == (rule->action == ACTION_ALLOW) && !strcmp(plain->spelled, rule->text);
}

START_TEST(a_patch_makes_what_the_model_makes)
{
    struct random random = random_new();
    for (int round = 0; round < ROUNDS; round++) {
        struct plain_list old, patch, merged = {.n = 0};
        random_rules(&random, RULES_MOST, &old);
        random_rules(&random, 8, &patch);
        append_new(&merged, &patch);
        append_new(&merged, &old);
        _cleanup_policy_ struct policy *base = real_policy(&old), *seen = NULL;
        _cleanup_rules_ struct rule_list *list = real_rules(&patch);
        ck_assert_int_eq(policy_patch(base, list, &seen), 0);
        ck_assert_msg(policy_count(seen) == merged.n, "TEST_SEED=%" PRIu64 " round %d: %zu rules, not %zu", random.seed,
                      round, policy_count(seen), merged.n);
        for (size_t i = 0; i < merged.n; i++)
            ck_assert_msg(same(&merged.rules[i], policy_rule(seen, i)), "TEST_SEED=%" PRIu64 " round %d: rule %zu",
                          random.seed, round, i);
    }
}
END_TEST

START_TEST(a_removal_makes_what_the_model_makes)
{
    struct random random = random_new();
    for (int round = 0; round < ROUNDS; round++) {
        struct plain_list old, targets;
        random_rules(&random, RULES_MOST, &old);
        random_rules(&random, 8, &targets);
        _cleanup_policy_ struct policy *base = real_policy(&old), *seen = NULL;
        _cleanup_rules_ struct rule_list *list = real_rules(&targets), *removed = NULL;
        ck_assert_int_eq(policy_remove(base, list, &seen, &removed), 0);
        ck_assert_uint_eq(policy_count(seen) + rule_list_count(removed), old.n);
        size_t kept = 0, gone = 0;
        for (size_t i = 0; i < old.n; i++) {
            bool named = among(&old.rules[i], &targets);
            size_t at = named ? gone++ : kept++;
            ck_assert_msg(at < (named ? rule_list_count(removed) : policy_count(seen)) &&
                              same(&old.rules[i], named ? rule_list_at(removed, at) : policy_rule(seen, at)),
                          "TEST_SEED=%" PRIu64 " round %d: \"%s\"", random.seed, round, old.rules[i].spelled);
        }
    }
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("policy_property");
    TCase *tc = tcase_create("policy_property");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, names_get_the_first_rule_that_matches);
    tcase_add_test(tc, addresses_get_the_first_deny_or_else_the_first_allow);
    tcase_add_test(tc, a_patch_makes_what_the_model_makes);
    tcase_add_test(tc, a_removal_makes_what_the_model_makes);
    suite_add_tcase(suite, tc);
    return suite;
}
