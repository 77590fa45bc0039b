/* Texts that are no JSON, or JSON that a parser in C might cut short. */
#include "base/cleanup.h"
#include "policy/policy_json.h"
#include "runner.h"

#include <errno.h>
#include <string.h>

static void check_refused_len(const char *text, size_t len, const char *message)
{
    struct policy *policy = NULL;
    struct why why = {""};
    /* Memory that ends where the text ends, so that sanitizers see any byte read beyond it. */
    _cleanup_free_ char *exact = malloc(len);
    memcpy(exact, text, len);
    ck_assert_msg(policy_from_json(exact, len, 0, &policy, &why) == -EINVAL, "%s", text);
    ck_assert_msg(!strncmp(why.text, message, strlen(message)), "%s: \"%s\", expected \"%s\"", text, why.text, message);
    ck_assert_ptr_null(policy);
}

static void check_refused(const char *text, const char *message)
{
    check_refused_len(text, strlen(text), message);
}

START_TEST(what_is_not_json_is_refused)
{
    static const char *const texts[] = {
        "{",
        "}",
        "[",
        "{\"egress\"",
        "{\"egress\":",
        "{\"egress\":[",
        "{\"a\":1,",
        "{\"egress\":[]",
        "nul",
        "nulll",
        "null null",
        "{} {}",
        "{}x",
        "{},",
        "{'a':1}",
        "{\"egress\":[],}",
        "{\"egress\":[,]}",
        "{egress:[]}",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\ud800\"",
        "\"",
        "\"\\",
        "\"\\u",
        "{\"egress\":[{\"target\":\"a\"}}",
        "// c\n{}",
        "NaN",
        "{\"defaultAction\":\"deny\"\"egress\":[]}",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        check_refused(texts[i], "not valid JSON");
    check_refused("{\"egress\":[", "not valid JSON: the text breaks off at byte 11");
    check_refused("{} x", "not valid JSON at byte 3, near \"x\"");
}
END_TEST

START_TEST(a_nul_is_refused_and_cuts_nothing_short)
{
    check_refused_len("{}\0", 3, "not valid JSON: control character 0x00 at byte 2");
    check_refused_len("\0", 1, "not valid JSON: control character");
    check_refused_len("{\"egress\":[{\"target\":\"a\0.b\"}]}", 29, "not valid JSON: control character");
    check_refused("{\"egress\":[{\"target\":\"a.com\\u0000.b\"}]}", "NUL character");
    check_refused("{\"egress\":[{\"target\\u0000\":\"a\"}]}", "NUL character");
    check_refused("{\"defaultAction\":\"allow\\u0000deny\"}", "NUL character");
    check_refused("{\"egress\":[{\"target\":\"\\\\\\u0000\"}]}", "NUL character");
    /* An escaped backslash before "u0000" is five ordinary characters. */
    check_refused("{\"egress\":[{\"target\":\"\\\\u0000\"}]}", "egress[0].target: \"\\u0000\"");
}
END_TEST

START_TEST(control_characters_and_invalid_utf8_are_refused)
{
    check_refused("{\"egress\":[{\"target\":\"a\n\"}]}", "not valid JSON: control character 0x0a");
    check_refused("{\"egress\":[{\"target\":\"a\x01\"}]}", "not valid JSON: control character 0x01");
    check_refused("{\x0b}", "not valid JSON: control character 0x0b");
    check_refused("{\"egress\":[{\"target\":\"a\xff\"}]}", "not valid UTF-8 at byte 23");
    check_refused("{\"egress\":[{\"target\":\"\xc0\x80\"}]}", "not valid UTF-8");
    check_refused("{\"egress\":[{\"target\":\"\xed\xa0\x80\"}]}", "not valid UTF-8");
    check_refused("{\"egress\":[{\"target\":\"\xc3", "not valid UTF-8");
    check_refused("\"\\\xff\"", "not valid UTF-8");
}
END_TEST

START_TEST(deep_nesting_is_refused)
{
    static char text[200001];
    memset(text, '[', sizeof(text) - 1);
    check_refused(text, "not valid JSON");
    memset(text + 100000, ']', 100000);
    check_refused(text, "not valid JSON");
    check_refused("{\"egress\":[[[[]]]]}", "egress[0]: expected an object, found an array");
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("json_text");
    TCase *tc = tcase_create("json_text");
    tcase_add_test(tc, what_is_not_json_is_refused);
    tcase_add_test(tc, a_nul_is_refused_and_cuts_nothing_short);
    tcase_add_test(tc, control_characters_and_invalid_utf8_are_refused);
    tcase_add_test(tc, deep_nesting_is_refused);
    suite_add_tcase(suite, tc);
    return suite;
}
