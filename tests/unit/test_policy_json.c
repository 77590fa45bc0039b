#include "base/buf.h"
#include "policy/policy_json.h"
#include "rules.h"
#include "runner.h"

#include <errno.h>
#include <stdio.h>

/* Parses from memory that ends where the text ends, so that sanitizers see any byte read beyond it. */
static int parse_exact(const char *text, size_t len, size_t max_rules, struct policy **ret, struct why *why)
{
    _cleanup_free_ char *exact = malloc(len ? len : 1);
    memcpy(exact, text, len);
    return policy_from_json(exact, len, max_rules, ret, why);
}

static void check_policy(const char *text, const char *expected)
{
    _cleanup_policy_ struct policy *policy = NULL;
    _cleanup_buf_ struct buf json = {0};
    struct why why = {""};
    ck_assert_msg(parse_exact(text, strlen(text), 0, &policy, &why) == 0, "%s: %s", text, why.text);
    policy_to_json(policy, &json);
    ck_assert_str_eq(json.data, expected);
}

static void check_message(const char *text, int error, int expected, const struct why *why, const char *message)
{
    ck_assert_msg(error == expected, "%s: %d, expected %d", text, error, expected);
    ck_assert_msg(!strncmp(why->text, message, strlen(message)), "%s: \"%s\", expected \"%s\"", text, why->text,
                  message);
}

static void check_refused(const char *text, const char *message)
{
    struct policy *policy = NULL;
    struct why why = {""};
    int error = parse_exact(text, strlen(text), 0, &policy, &why);
    check_message(text, error, -EINVAL, &why, message);
    ck_assert_int_eq(parse_exact(text, strlen(text), 0, &policy, NULL), -EINVAL);
    ck_assert_ptr_null(policy);
}

#define DENY_ALL "{\"egress\":[],\"defaultAction\":\"deny\"}"

START_TEST(nothing_means_deny_all)
{
    check_policy("", DENY_ALL);
    check_policy(" \t\r\n", DENY_ALL);
    check_policy("null", DENY_ALL);
    check_policy(" {} ", DENY_ALL);
    check_policy("{\"egress\":[]}", DENY_ALL);
    check_policy("{\"defaultAction\":\"\"}", DENY_ALL);
    check_policy("{\"defaultAction\":\" \"}", DENY_ALL);
}
END_TEST

START_TEST(targets_come_back_as_spelled_and_actions_in_lower_case)
{
    check_policy("{\"defaultAction\":\" ALLOW\\n\",\"egress\":[]}", "{\"egress\":[],\"defaultAction\":\"allow\"}");
    check_policy("{\"defaultAction\":\"Deny\",\"egress\":[{\"target\":\" *.PyPI.org. \",\"action\":\"Allow \"},"
                 "{\"target\":\"10.1.2.3/8\"},{\"action\":\"\",\"target\":\"A.com\"},"
                 "{\"action\":\"deny\",\"target\":\"A.com\"}]}",
                 "{\"egress\":[{\"action\":\"allow\",\"target\":\"*.PyPI.org.\"},"
                 "{\"action\":\"deny\",\"target\":\"10.1.2.3/8\"},{\"action\":\"deny\",\"target\":\"A.com\"},"
                 "{\"action\":\"deny\",\"target\":\"A.com\"}],\"defaultAction\":\"deny\"}");
    check_policy("{\"egress\":[{\"target\":\"b\\u00fccher.de\"},{\"target\":\"\\u002a\"}]}",
                 "{\"egress\":[{\"action\":\"deny\",\"target\":\"b\xc3\xbc"
                 "cher.de\"},{\"action\":\"deny\",\"target\":\"*\"}],\"defaultAction\":\"deny\"}");
    check_policy("\xEF\xBB\xBF{}", DENY_ALL);
}
END_TEST

START_TEST(what_was_written_reads_the_same)
{
    const char *text = "{\"egress\":[{\"action\":\"allow\",\"target\":\"*.b\xc3\xbc"
                       "cher.de\"},{\"action\":\"deny\",\"target\":\"::/0\"}],\"defaultAction\":\"allow\"}";
    check_policy(text, text);
}
END_TEST

START_TEST(null_members_count_as_missing)
{
    check_policy("{\"egress\":null,\"defaultAction\":null}", DENY_ALL);
    check_policy("{\"egress\":null,\"defaultAction\":\"allow\"}", "{\"egress\":[],\"defaultAction\":\"allow\"}");
}
END_TEST

/* Every JSON type, put where another one belongs. */
static const char *const wrong_values[][2] = {
    {"null", "null"},       {"true", "true"},      {"false", "false"}, {"1", "a number"},
    {"-1.5e3", "a number"}, {"\"x\"", "a string"}, {"[]", "an array"}, {"{}", "an object"},
};

#define WITH_NULL 0
#define WITHOUT_NULL 1 /* where null counts as missing */

static void check_wrong_types(size_t first, const char *before, const char *after, const char *place,
                              const char *expected, int (*parse)(const char *text, size_t len, struct why *why))
{
    for (size_t i = first; i < sizeof(wrong_values) / sizeof(wrong_values[0]); i++) {
        char text[256], message[256];
        struct why why = {""};
        if (!strncmp(wrong_values[i][1], expected, strlen(wrong_values[i][1])))
            continue;
        snprintf(text, sizeof(text), "%s%s%s", before, wrong_values[i][0], after);
        snprintf(message, sizeof(message), "%sexpected %s, found %s", place, expected, wrong_values[i][1]);
        check_message(text, parse(text, strlen(text), &why), -EINVAL, &why, message);
    }
}

static int parse_policy(const char *text, size_t len, struct why *why)
{
    struct policy *policy = NULL;
    return parse_exact(text, len, 0, &policy, why);
}

static int parse_rules(const char *text, size_t len, struct why *why)
{
    struct rule_list *list = NULL;
    int error = rules_from_json(text, len, &list, why);
    rule_list_free(list);
    return error;
}

static int parse_targets(const char *text, size_t len, struct why *why)
{
    struct rule_list *list = NULL;
    int error = targets_from_json(text, len, &list, why);
    rule_list_free(list);
    return error;
}

START_TEST(a_wrong_type_is_named_wherever_it_stands)
{
    check_wrong_types(WITHOUT_NULL, "{\"defaultAction\":", "}", "defaultAction: ", "a string", parse_policy);
    check_wrong_types(WITHOUT_NULL, "{\"egress\":", "}", "egress: ", "an array", parse_policy);
    check_wrong_types(WITH_NULL, "{\"egress\":[{\"target\":\"a\"},", "]}", "egress[1]: ", "an object", parse_policy);
    check_wrong_types(WITH_NULL, "{\"egress\":[{\"target\":", "}]}", "egress[0].target: ", "a string", parse_policy);
    check_wrong_types(WITH_NULL, "{\"egress\":[{\"target\":\"a\",\"action\":", "}]}", "egress[0].action: ", "a string",
                      parse_policy);
    check_wrong_types(WITH_NULL, "", "", "", "an array of rules", parse_rules);
    check_wrong_types(WITH_NULL, "[", "]", "[0]: ", "an object", parse_rules);
    check_wrong_types(WITH_NULL, "[{\"target\":\"a\"},{\"target\":", "}]", "[1].target: ", "a string", parse_rules);
    check_wrong_types(WITH_NULL, "[{\"target\":\"a\",\"action\":", "}]", "[0].action: ", "a string", parse_rules);
    check_wrong_types(WITH_NULL, "", "", "", "an array of targets", parse_targets);
    check_wrong_types(WITH_NULL, "[\"a\",", "]", "[1]: ", "a string", parse_targets);
    check_refused("true", "expected an object, found true");
    check_refused("1", "expected an object, found a number");
    check_refused("\"deny\"", "expected an object, found a string");
    check_refused("[]", "expected an object, found an array");
}
END_TEST

START_TEST(unknown_missing_and_repeated_members_are_named)
{
    check_refused("{\"ingress\":[]}", "ingress: unknown member");
    check_refused("{\"Egress\":[]}", "Egress: unknown member");
    check_refused("{\"\":1}", ": unknown member");
    check_refused("{\"egress\":[{\"action\":\"allow\",\"target\":\"a\"},{\"target\":\"a\",\"port\":443}]}",
                  "egress[1].port: unknown member");
    check_refused("{\"egress\":[{\"Target\":\"a\"}]}", "egress[0].Target: unknown member");
    check_refused("{\"egress\":[],\"egress\":[]}", "egress: given twice");
    check_refused("{\"defaultAction\":\"deny\",\"defaultAction\":\"allow\"}", "defaultAction: given twice");
    check_refused("{\"egress\":[{\"target\":\"a\",\"target\":\"b\"}]}", "egress[0].target: given twice");
    check_refused("{\"egress\":[{\"target\":\"a\",\"action\":\"deny\",\"action\":\"allow\"}]}",
                  "egress[0].action: given twice");
    check_refused("{\"egress\":[{}]}", "egress[0].target: missing");
    check_refused("{\"egress\":[{\"action\":\"allow\"}]}", "egress[0].target: missing");
}
END_TEST

START_TEST(wrong_values_are_named)
{
    check_refused("{\"defaultAction\":\"drop\"}", "defaultAction: \"drop\": expected allow or deny");
    check_refused("{\"defaultAction\":\"allow deny\"}", "defaultAction: \"allow deny\"");
    check_refused("{\"egress\":[{\"target\":\"a\",\"action\":\"allo\"}]}",
                  "egress[0].action: \"allo\": expected allow or deny");
    check_refused("{\"egress\":[{\"target\":\" \"}]}", "egress[0].target: the target is empty");
    check_refused("{\"egress\":[{\"target\":\"a\"},{\"target\":\"http://a\"}]}", "egress[1].target: \"http://a\": ");
    check_refused("{\"egress\":[{\"action\":\"?\",\"target\":\"a\"},{\"target\":\"a:1\"}]}", "egress[1].target: ");
}
END_TEST

START_TEST(the_number_of_rules_is_limited)
{
    struct policy *policy = NULL;
    struct why why = {""};
    const char *text = "{\"egress\":[{\"target\":\"a\"},{\"target\":\"b\"},{\"target\":\"a\"}]}";
    ck_assert_int_eq(parse_exact(text, strlen(text), 2, &policy, &why), -E2BIG);
    ck_assert_str_eq(why.text, "egress rule total count 3 exceeds limit 2");
    ck_assert_int_eq(parse_exact(text, strlen(text), 3, &policy, &why), 0);
    policy_unref(policy);
}
END_TEST

START_TEST(a_patch_with_a_bad_action_alone_is_told_apart)
{
    static const struct {
        const char *text;
        int error;
        const char *message;
    } cases[] = {
        {"[]", 0, ""},
        {" [{\"target\":\"a\"},{\"action\":\"ALLOW\",\"target\":\"b\"}]\n", 0, ""},
        {"[{\"action\":\"x\",\"target\":\"a\"}]", -EBADMSG, "[0].action: \"x\": expected allow or deny"},
        {"[{\"target\":\"b\"},{\"action\":\"x\",\"target\":\"a\"},{\"action\":\"y\",\"target\":\"a\"}]", -EBADMSG,
         "[1].action: \"x\""},
        {"[{\"action\":\"x\",\"target\":\"a\"},{\"target\":\"a:1\"}]", -EINVAL, "[1].target: \"a:1\""},
        {"[{\"action\":\"x\",\"target\":\"a:1\"}]", -EINVAL, "[0].target: \"a:1\""},
        {"[{\"action\":\"x\"}]", -EINVAL, "[0].target: missing"},
        {"[{\"action\":\"x\",\"target\":\"a\",\"port\":1}]", -EINVAL, "[0].port: unknown member"},
        {"", -EINVAL, "expected an array of rules, found nothing"},
        {"[{\"target\":\"a\"}] []", -EINVAL, "not valid JSON"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct why why = {""};
        int error = parse_rules(cases[i].text, strlen(cases[i].text), &why);
        check_message(cases[i].text, error, cases[i].error, &why, cases[i].message);
    }
}
END_TEST

START_TEST(arrays_of_rules_and_targets_are_read_in_order)
{
    _cleanup_rules_ struct rule_list *rules = NULL, *targets = NULL;
    _cleanup_buf_ struct buf json = {0};
    const char *text = "[{\"target\":\"b\",\"action\":\"allow\"},{\"target\":\"1.2.3.4\"}]";
    ck_assert_int_eq(rules_from_json(text, strlen(text), &rules, NULL), 0);
    rules_to_json(rules, &json);
    ck_assert_str_eq(json.data,
                     "[{\"action\":\"allow\",\"target\":\"b\"},{\"action\":\"deny\",\"target\":\"1.2.3.4\"}]");
    text = "[\" B.com \",\"10.0.0.0/8\",\"*\"]";
    ck_assert_int_eq(targets_from_json(text, strlen(text), &targets, NULL), 0);
    ck_assert_uint_eq(rule_list_count(targets), 3);
    ck_assert_str_eq(rule_list_at(targets, 0)->text, "B.com");
    ck_assert_int_eq(rule_list_at(targets, 2)->kind, TARGET_ANY);
    struct why why = {""};
    text = "[\"a\",\"b:1\"]";
    ck_assert_int_eq(parse_targets(text, strlen(text), &why), 0); /* nothing is named so */
    text = "[]";
    check_message(text, parse_targets(text, strlen(text), &why), -EINVAL, &why, "empty array");
    check_message("", parse_targets("", 0, &why), -EINVAL, &why, "expected an array of targets, found nothing");
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("policy_json");
    TCase *tc = tcase_create("policy_json");
    tcase_add_test(tc, nothing_means_deny_all);
    tcase_add_test(tc, targets_come_back_as_spelled_and_actions_in_lower_case);
    tcase_add_test(tc, what_was_written_reads_the_same);
    tcase_add_test(tc, null_members_count_as_missing);
    tcase_add_test(tc, a_wrong_type_is_named_wherever_it_stands);
    tcase_add_test(tc, unknown_missing_and_repeated_members_are_named);
    tcase_add_test(tc, wrong_values_are_named);
    tcase_add_test(tc, the_number_of_rules_is_limited);
    tcase_add_test(tc, a_patch_with_a_bad_action_alone_is_told_apart);
    tcase_add_test(tc, arrays_of_rules_and_targets_are_read_in_order);
    suite_add_tcase(suite, tc);
    return suite;
}
