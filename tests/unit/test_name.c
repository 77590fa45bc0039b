#include "base/domain_name.h"
#include "policy/name.h"
#include "runner.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static void check_wire(const char *text, const char *wire, size_t len)
{
    uint8_t seen[NAME_WIRE_MAX];
    size_t seen_len;
    struct why why = {""};
    ck_assert_msg(name_from_text(text, seen, &seen_len, &why) == 0, "%s: %s", text, why.text);
    ck_assert_msg(seen_len == len && !memcmp(seen, wire, len), "%s", text);
}

static void check_text(const char *wire, size_t len, const char *expected)
{
    char text[DOMAIN_TEXT_MAX];
    size_t text_len = domain_name_text((const uint8_t *)wire, len, text);
    ck_assert_str_eq(text, expected);
    ck_assert_uint_eq(text_len, strlen(expected));
}

static void check_refused(const char *text, const char *reason)
{
    uint8_t wire[NAME_WIRE_MAX] = {0xaa};
    size_t len = 7;
    struct why why = {""};
    ck_assert_msg(name_from_text(text, wire, &len, &why) == -EINVAL, "%s", text);
    ck_assert_msg(strstr(why.text, reason), "%s: \"%s\" does not say \"%s\"", text, why.text, reason);
    ck_assert_int_eq(name_from_text(text, wire, &len, NULL), -EINVAL);
    ck_assert_uint_eq(len, 7);
    ck_assert_int_eq(wire[0], 0xaa);
}

START_TEST(names_become_lower_case_wire_format)
{
    check_wire("example.com", "\7example\3com", 13);
    check_wire("EXAMPLE.Com", "\7example\3com", 13);
    check_wire("example.com.", "\7example\3com", 13);
    check_wire("localhost", "\11localhost", 11);
    check_wire("_dmarc.a-b.x1", "\6_dmarc\3a-b\2x1", 15);
    check_wire("1.example",
               "\1"
               "1\7example",
               11);
    check_wire("host.x",
               "\4host\1"
               "x",
               8);
    check_wire(".", "", 1);
}
END_TEST

START_TEST(unicode_names_become_a_labels)
{
    check_wire("b\xc3\xbc"
               "cher.example",
               "\15xn--bcher-kva\7example", 23);
    check_wire("B\xc3\x9c"
               "CHER.Example.",
               "\15xn--bcher-kva\7example", 23);
    check_wire("stra\xc3\x9f"
               "e.de",
               "\15xn--strae-oqa\2de", 18);
    check_wire("_x.b\xc3\xbc"
               "cher.de",
               "\2_x\15xn--bcher-kva\2de", 21);
    check_wire("\xe4\xbe\x8b\xe3\x80\x82\xe4\xb8\xad\xe5\x9b\xbd", "\7xn--fsq\12xn--fiqs8s", 20);
}
END_TEST

START_TEST(lengths_are_limited)
{
    char label64[65], name[256];
    memset(label64, 'a', 64);
    label64[64] = '\0';
    check_refused(label64, "a label has 64 octets");
    uint8_t wire[NAME_WIRE_MAX];
    size_t len;
    ck_assert_int_eq(name_from_text(label64 + 1, wire, &len, NULL), 0);
    ck_assert_uint_eq(len, 65);
    /* 63 + 1 + 63 + 1 + 63 + 1 + 61 = 253 */
    snprintf(name, sizeof(name), "%s.%s.%s.%s", label64 + 1, label64 + 1, label64 + 1, label64 + 3);
    ck_assert_int_eq(name_from_text(name, wire, &len, NULL), 0);
    ck_assert_uint_eq(len, 255);
    strcat(name, ".");
    ck_assert_int_eq(name_from_text(name, wire, &len, NULL), 0);
    snprintf(name, sizeof(name), "%s.%s.%s.%s", label64 + 1, label64 + 1, label64 + 1, label64 + 2);
    check_refused(name, "254 octets; expected at most 253");
    static char huge[1 << 16];
    memset(huge, 'a', sizeof(huge) - 1);
    check_refused(huge, "too long");
}
END_TEST

START_TEST(what_is_no_name_is_refused_with_a_reason)
{
    check_refused("", "empty label");
    check_refused("..", "empty label");
    check_refused("a..b", "empty label");
    check_refused(".a", "empty label");
    check_refused("a..", "empty label");
    check_refused("https://example.com/", "no scheme");
    check_refused("example.com:443", "no port");
    check_refused("example.com/path", "no path");
    check_refused("[::1]", "'['");
    check_refused("10.0.0.0/33", "CIDR");
    check_refused("a.*.com", "first label");
    check_refused("a*.com", "first label");
    check_refused("*.com", "first label");
    check_refused("exa mple.com", "octet 0x20");
    check_refused("example.com\n", "octet 0x0a");
    check_refused("ex@mple.com", "'@'");
    check_refused("a\\.b", "'\\'");
    check_refused("1.2.3", "IPv4");
    check_refused("1.2.3.256", "IPv4");
    check_refused("1.2.3.4.", "IPv4");
    check_refused("\xef\xbc\x91.2.3.4", "IPv4");
    check_refused("\xff.example", "internationalised");
    check_refused("b\xc3\xbc"
                  "cher.a*b",
                  "");
    check_refused("\xef\xbc\x8a.example", "first label");
    check_refused("a\xc2\xa0"
                  "b.example",
                  "");
}
END_TEST

START_TEST(the_message_is_one_line_whatever_the_text)
{
    struct why why;
    uint8_t wire[NAME_WIRE_MAX];
    size_t len;
    ck_assert_int_eq(name_from_text("a\nb\x1b[31m", wire, &len, &why), -EINVAL);
    for (const char *c = why.text; *c; c++)
        ck_assert((unsigned char)*c >= ' ');
}
END_TEST

START_TEST(wire_format_becomes_text)
{
    check_text("", 1, ".");
    check_text("\7example\3com", 13, "example.com");
    check_text("\7EXAMPLE\3com", 13, "example.com");
    check_text("\3a.b\2\0\\", 8, "a\\046b.\\000\\092");
    check_text("\1*\2_x", 6, "\\042._x");
    char wire[255], expected[NAME_TEXT_MAX] = "";
    memset(wire, 0xff, sizeof(wire));
    wire[0] = wire[64] = wire[128] = 63;
    wire[192] = 61;
    wire[254] = 0;
    for (int i = 0, left[] = {63, 63, 63, 61}; i < 4; i++) {
        strcat(expected, i ? "." : "");
        while (left[i]--)
            strcat(expected, "\\255");
    }
    check_text(wire, sizeof(wire), expected);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("name");
    TCase *tc = tcase_create("name");
    tcase_add_test(tc, names_become_lower_case_wire_format);
    tcase_add_test(tc, unicode_names_become_a_labels);
    tcase_add_test(tc, lengths_are_limited);
    tcase_add_test(tc, what_is_no_name_is_refused_with_a_reason);
    tcase_add_test(tc, the_message_is_one_line_whatever_the_text);
    tcase_add_test(tc, wire_format_becomes_text);
    suite_add_tcase(suite, tc);
    return suite;
}
