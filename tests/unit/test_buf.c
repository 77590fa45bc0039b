#include "base/buf.h"
#include "base/cleanup.h"
#include "runner.h"

#include <stdint.h>
#include <string.h>

START_TEST(appended_pieces_are_one_terminated_string)
{
    _cleanup_buf_ struct buf buf = {0};
    buf_puts(&buf, "");
    buf_append(&buf, NULL, 0);
    buf_puts(&buf, "one ");
    buf_printf(&buf, "%d %s", 2, "three");
    buf_putc(&buf, '!');
    ck_assert_str_eq(buf.data, "one 2 three!");
    ck_assert_uint_eq(buf.len, 12);
    buf_clear(&buf);
    ck_assert_uint_eq(buf.len, 0);
    buf_puts(&buf, "new");
    ck_assert_str_eq(buf.data, "new");
}
END_TEST

START_TEST(it_grows_at_every_boundary)
{
    _cleanup_buf_ struct buf buf = {0}, printed = {0};
    for (size_t i = 0; i < 5000; i++) {
        char digit = (char)('0' + i % 10);
        buf_putc(&buf, digit);
        buf_printf(&printed, "%c", digit);
        ck_assert_uint_eq(strlen(buf.data), i + 1);
    }
    ck_assert_str_eq(buf.data, printed.data);
    buf_append(&printed, buf.data, buf.len);
    ck_assert_uint_eq(printed.len, 10000);
}
END_TEST

START_TEST(a_failed_allocation_is_remembered)
{
    _cleanup_buf_ struct buf buf = {0};
    buf_puts(&buf, "kept");
    buf_append(&buf, "", SIZE_MAX - 10);
    ck_assert(buf.failed);
    buf_puts(&buf, "dropped");
    ck_assert_str_eq(buf.data, "kept");
    buf_clear(&buf);
    buf_puts(&buf, "again");
    ck_assert(!buf.failed);
    ck_assert_str_eq(buf.data, "again");
}
END_TEST

static void check_json(const char *text, size_t len, const char *expected)
{
    _cleanup_buf_ struct buf buf = {0};
    buf_json_string(&buf, text, len);
    ck_assert_str_eq(buf.data, expected);
}

START_TEST(json_strings_are_escaped)
{
    check_json("", 0, "\"\"");
    check_json("plain /text", 11, "\"plain /text\"");
    check_json("\"\\", 2, "\"\\\"\\\\\"");
    check_json("\n\r\t\b\x1f\x7f", 6, "\"\\n\\r\\t\\u0008\\u001f\\u007f\"");
    check_json("a\0b", 3, "\"a\\u0000b\"");
    check_json("b\xc3\xbc\xe2\x82\xac\xf0\x9f\x98\x80", 10, "\"b\xc3\xbc\xe2\x82\xac\xf0\x9f\x98\x80\"");
}
END_TEST

#define BAD "\xEF\xBF\xBD"

START_TEST(invalid_utf8_becomes_replacement_characters)
{
    check_json("\x80", 1, "\"" BAD "\"");
    check_json("a\xff"
               "b",
               3, "\"a" BAD "b\"");
    check_json("\xc3", 1, "\"" BAD "\"");
    check_json("\xc0\xaf", 2, "\"" BAD BAD "\"");
    check_json("\xe0\x80\xaf", 3, "\"" BAD BAD BAD "\"");
    check_json("\xed\xa0\x80", 3, "\"" BAD BAD BAD "\"");
    check_json("\xf4\x90\x80\x80", 4, "\"" BAD BAD BAD BAD "\"");
    check_json("\xe2\x82", 2, "\"" BAD BAD "\"");
    check_json("\xc3\"", 2, "\"" BAD "\\\"\"");
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("buf");
    TCase *tc = tcase_create("buf");
    tcase_add_test(tc, appended_pieces_are_one_terminated_string);
    tcase_add_test(tc, it_grows_at_every_boundary);
    tcase_add_test(tc, a_failed_allocation_is_remembered);
    tcase_add_test(tc, json_strings_are_escaped);
    tcase_add_test(tc, invalid_utf8_becomes_replacement_characters);
    suite_add_tcase(suite, tc);
    return suite;
}
