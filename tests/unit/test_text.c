#include "base/text.h"

#include "runner.h"

#include <stdlib.h>
#include <string.h>

START_TEST(trims_white_space_at_the_ends_only)
{
    static const char *const cases[][2] = {{"", ""}, {" \t\r\n", ""}, {" a b ", "a b"}, {"a", "a"}, {"\va\f", "a"}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char *text = text_trimmed(cases[i][0], strlen(cases[i][0]));
        ck_assert_str_eq(text, cases[i][1]);
        free(text);
    }
}
END_TEST

START_TEST(switches)
{
    static const char *const on[] = {"1", "true", "TRUE", "Yes", "y", "oN"}, *const off[] = {"0", "False", "no", "N",
                                                                                             "OFF"};
    static const char *const neither[] = {"", "2", "enabled", "tru", "truee", " on"};
    for (size_t i = 0; i < 6; i++)
        ck_assert(text_truthy(on[i]) && !text_falsy(on[i]));
    for (size_t i = 0; i < 5; i++)
        ck_assert(text_falsy(off[i]) && !text_truthy(off[i]));
    for (size_t i = 0; i < 6; i++)
        ck_assert(!text_truthy(neither[i]) && !text_falsy(neither[i]));
}
END_TEST

START_TEST(whole_numbers)
{
    unsigned number = 77;
    ck_assert(text_whole_number("0", 0, 10, &number) && number == 0);
    ck_assert(text_whole_number("010", 0, 10, &number) && number == 10);
    static const char *const wrong[] = {"", "-1", "+1", " 1", "1 ", "1.5", "0x1", "11", "99999999999999999999", "a"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        ck_assert_msg(!text_whole_number(wrong[i], 0, 10, &number), "\"%s\"", wrong[i]);
    ck_assert(!text_whole_number("4", 5, 10, &number));
    ck_assert_uint_eq(number, 10); /* left alone by what failed */
}
END_TEST

static int collect(void *ctx, const char *part)
{
    char *all = ctx;
    strcat(strcat(all, "["), part);
    strcat(all, "]");
    return strcmp(part, "stop") ? 0 : 5;
}

START_TEST(splits)
{
    char all[64] = "";
    ck_assert_int_eq(text_split(" a ,b,, c", ',', collect, all), 0);
    ck_assert_str_eq(all, "[a][b][][c]");
    all[0] = '\0';
    ck_assert_int_eq(text_split("a+stop+b", '+', collect, all), 5);
    ck_assert_str_eq(all, "[a][stop]");
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("text");
    TCase *tcase = tcase_create("text");
    tcase_add_test(tcase, trims_white_space_at_the_ends_only);
    tcase_add_test(tcase, switches);
    tcase_add_test(tcase, whole_numbers);
    tcase_add_test(tcase, splits);
    suite_add_tcase(suite, tcase);
    return suite;
}
