/* Columns and colours of ctl. */
#include "ctl/listing.h"
#include "runner.h"

#include <string.h>

static void expect_put(struct listing *listing, size_t width, const char *expected)
{
    struct buf out = {0};
    buf_puts(&out, "");
    listing_put(listing, width, &out);
    ck_assert(!out.failed);
    ck_assert_str_eq(out.len ? out.data : "", expected);
    buf_done(&out);
    ck_assert_uint_eq(listing->n_cells, 0);
}

static void fill(struct listing *listing)
{
    listing_titles(listing, "A,LONG,C");
    listing_add(listing, TONE_GOOD, "x");
    listing_add(listing, TONE_PLAIN, "m\xC3\xBCnchen");
    listing_printf(listing, TONE_BAD, "%d", 7);
    listing_add(listing, TONE_FAINT, "yy");
    listing_add(listing, TONE_PLAIN, "");
    listing_add(listing, TONE_FAINT, "z");
}

START_TEST(columns_stand_below_each_other)
{
    struct listing listing = {false, 3};
    expect_put(&listing, 0, "");
    for (int i = 0; i < 2; i++) {
        fill(&listing);
        expect_put(&listing, 0,
                   "A   LONG     C\n"
                   "x   m\xC3\xBCnchen  7\n"
                   "yy           z\n");
    }
}
END_TEST

START_TEST(nothing_is_wider_than_it_may_be)
{
    struct listing listing = {false, 3};
    fill(&listing);
    expect_put(&listing, 6, "A   LO\nx   m\xC3\xBC\nyy\n");
}
END_TEST

START_TEST(colours_take_no_room)
{
    struct listing listing = {true, 3};
    fill(&listing);
    expect_put(&listing, 0,
               "\033[1mA\033[0m   \033[1mLONG\033[0m     \033[1mC\033[0m\n"
               "\033[32mx\033[0m   m\xC3\xBCnchen  \033[31m7\033[0m\n"
               "\033[2myy\033[0m           \033[2mz\033[0m\n");
}
END_TEST

START_TEST(no_control_character_gets_through)
{
    struct buf out = {0};
    for (int c = 1; c < 256; c++) {
        char text[] = {(char)c, 0}, c1[] = {(char)0xC2, (char)c, 0};
        bool shown = c >= ' ' && c < 0x7f;
        buf_clear(&out);
        tone_put(&out, false, TONE_PLAIN, text);
        ck_assert_str_eq(out.data, shown ? text : "?");
        buf_clear(&out);
        tone_put(&out, false, TONE_PLAIN, c1);
        ck_assert(c >= 0xA0 && c < 0xC0 ? !strcmp(out.data, c1) : out.data[0] == '?');
    }
    buf_done(&out);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("listing");
    TCase *tcase = tcase_create("listing");
    tcase_add_test(tcase, columns_stand_below_each_other);
    tcase_add_test(tcase, nothing_is_wider_than_it_may_be);
    tcase_add_test(tcase, colours_take_no_room);
    tcase_add_test(tcase, no_control_character_gets_through);
    suite_add_tcase(suite, tcase);
    return suite;
}
