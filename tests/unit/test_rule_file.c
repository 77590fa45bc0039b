#include "policy/rule_file.h"
#include "rules.h"
#include "runner.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

static void check_targets(const char *text, size_t len, const char *expected)
{
    _cleanup_policy_ struct policy *policy = NULL;
    struct why why = {""};
    char seen[1024] = "";
    ck_assert_msg(rule_file_parse("f", text, len, ACTION_ALLOW, false, &policy, &why) == 0, "%s", why.text);
    for (size_t i = 0; i < policy_count(policy); i++) {
        ck_assert_int_eq(policy_rule(policy, i)->action, ACTION_ALLOW);
        strcat(strcat(seen, i ? "|" : ""), policy_rule(policy, i)->text);
    }
    ck_assert_str_eq(seen, expected);
}

static void check_refused(const char *text, size_t len, bool names_only, const char *message)
{
    struct policy *policy = NULL;
    struct why why = {""};
    ck_assert_int_eq(rule_file_parse("/x/deny.always", text, len, ACTION_DENY, names_only, &policy, &why), -EINVAL);
    ck_assert_msg(!strncmp(why.text, message, strlen(message)), "\"%s\", expected \"%s\"", why.text, message);
    ck_assert_ptr_null(policy);
}

#define TEXT(literal) literal, sizeof(literal) - 1

START_TEST(every_line_is_a_target)
{
    check_targets(NULL, 0, "");
    check_targets(TEXT("\n\n"), "");
    check_targets(TEXT("a.com"), "a.com");
    check_targets(TEXT("a.com\n"), "a.com");
    check_targets(TEXT("# all\n\n  *.B.com \t# a comment\n#x\n10.0.0.0/8\t#\n\t\n*"), "*.B.com|10.0.0.0/8|*");
    check_targets(TEXT("a.com\r\n\r\n# c\r\nb.com\r\n"), "a.com|b.com");
    check_targets(TEXT("\xEF\xBB\xBF# c\na.com"), "a.com");
    check_targets(TEXT("\xEF\xBB\xBF"), "");
    check_targets(TEXT("a.com\na.com\n"), "a.com|a.com");
}
END_TEST

START_TEST(long_comments_are_no_error)
{
    static char text[100000];
    memset(text, 'x', sizeof(text));
    text[0] = '#';
    memcpy(text + sizeof(text) - 7, "\na.com\n", 7);
    check_targets(text, sizeof(text), "a.com");
}
END_TEST

START_TEST(a_bad_line_is_named)
{
    check_refused(TEXT("a.com\n\nhttp://b\n"), false, "/x/deny.always:3: \"http://b\"");
    check_refused(TEXT("a.com b.com"), false, "/x/deny.always:1: \"a.com b.com\"");
    check_refused(TEXT("a.com#comment"), false, "/x/deny.always:1: \"a.com#comment\"");
    check_refused(TEXT("\n# a\0b\n"), false, "/x/deny.always:2: a NUL byte");
    check_refused(TEXT("a.com\0\n"), false, "/x/deny.always:1: a NUL byte");
    check_refused(TEXT("a\r\rb.com"), false, "/x/deny.always:1: ");
    static char text[5000];
    memset(text, 'x', sizeof(text));
    check_refused(text, sizeof(text), false, "/x/deny.always:1: the line has 5000 octets");
}
END_TEST

START_TEST(names_only_refuses_addresses)
{
    check_refused(TEXT("a.com\n10.0.0.1\n"), true, "/x/deny.always:2: \"10.0.0.1\" is an address");
    check_refused(TEXT("::/0\n"), true, "/x/deny.always:1: \"::/0\" is an address");
    struct policy *policy = NULL;
    ck_assert_int_eq(rule_file_parse("f", TEXT("a.com\n*.b\n*\n"), ACTION_ALLOW, true, &policy, NULL), 0);
    ck_assert_uint_eq(policy_count(policy), 3);
    policy_unref(policy);
}
END_TEST

static char folder[64], path[128];

static void folder_make(void)
{
    strcpy(folder, "/tmp/test_rule_file.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/allow.always", folder);
}

static void folder_remove(void)
{
    unlink(path);
    rmdir(path);
    rmdir(folder);
}

START_TEST(a_file_is_loaded)
{
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    fputs("a.com\nb c\n", file);
    fclose(file);
    struct policy *policy = NULL;
    struct why why = {""};
    char expected[256];
    ck_assert_int_eq(rule_file_load(folder, "allow.always", ACTION_ALLOW, false, &policy, &why), -EINVAL);
    snprintf(expected, sizeof(expected), "%s:2: \"b c\"", path);
    ck_assert_int_eq(strncmp(why.text, expected, strlen(expected)), 0);
    ck_assert_int_eq(truncate(path, 6), 0);
    ck_assert_int_eq(rule_file_load(folder, "allow.always", ACTION_ALLOW, false, &policy, &why), 0);
    ck_assert_uint_eq(policy_count(policy), 1);
    policy_unref(policy);
}
END_TEST

START_TEST(a_missing_file_is_no_policy_and_no_error)
{
    struct policy *policy = (struct policy *)folder;
    ck_assert_int_eq(rule_file_load(folder, "allow.always", ACTION_ALLOW, false, &policy, NULL), 0);
    ck_assert_ptr_null(policy);
    policy = (struct policy *)folder;
    ck_assert_int_eq(rule_file_load("/nonexistent", "allow.always", ACTION_ALLOW, false, &policy, NULL), 0);
    ck_assert_ptr_null(policy);
}
END_TEST

START_TEST(an_unreadable_file_is_an_error)
{
    struct policy *policy = NULL;
    struct why why = {""};
    ck_assert_int_eq(mkdir(path, 0700), 0);
    ck_assert_int_lt(rule_file_load(folder, "allow.always", ACTION_ALLOW, false, &policy, &why), 0);
    ck_assert_int_eq(strncmp(why.text, path, strlen(path)), 0);
    ck_assert_ptr_null(policy);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("rule_file");
    TCase *parsing = tcase_create("parse"), *loading = tcase_create("load");
    tcase_add_test(parsing, every_line_is_a_target);
    tcase_add_test(parsing, long_comments_are_no_error);
    tcase_add_test(parsing, a_bad_line_is_named);
    tcase_add_test(parsing, names_only_refuses_addresses);
    suite_add_tcase(suite, parsing);
    tcase_add_checked_fixture(loading, folder_make, folder_remove);
    tcase_add_test(loading, a_file_is_loaded);
    tcase_add_test(loading, a_missing_file_is_no_policy_and_no_error);
    tcase_add_test(loading, an_unreadable_file_is_an_error);
    suite_add_tcase(suite, loading);
    return suite;
}
