/* Targets that are none, and what their errors say to write instead. */
#include "policy/policy.h"

#include "runner.h"

#include <errno.h>
#include <string.h>

static const struct {
    const char *text, *said; /* NULL: it is a target */
} cases[] = {
    {"198.18.66.0-198.18.66.255", "write 198.18.66.0/24"},
    {"10.0.0.1-20", "write 10.0.0.1/32, 10.0.0.2/31, 10.0.0.4/30, 10.0.0.8/29, 10.0.0.16/30, 10.0.0.20/32"},
    {"10.0.0.1-10.0.0.20", "10.0.0.16/30, 10.0.0.20/32"},
    {"10.0.0.1 - 10.0.0.2", "write 10.0.0.1/32, 10.0.0.2/32"},
    {"10.0.0.1-10.0.255.254", "write CIDRs"},
    {"10.0.0.9-10.0.0.1", "write CIDRs"},
    {"10.0.0.9-256", "write CIDRs"},
    {"10.0.0.9-x", "write CIDRs"},
    {"10.0.0.1-2001:db8::", "write CIDRs"},
    {"2001:db8::1-ff", "write CIDRs"},
    {"0.0.0.0-255.255.255.255", "write 0.0.0.0/0"},
    {"255.255.255.254-255", "write 255.255.255.254/31"},
    {"2001:db8::-2001:db8::ffff", "write 2001:db8::/112"},
    {"2001:db8::-10.0.0.1", "write CIDRs"},
    {"::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "write ::/0"},
    {"0x7f000001", "IPv4 address 127.0.0.1; write that"},
    {"0X7F.1", "127.0.0.1"},
    {"2130706433", "127.0.0.1"},
    {"017700000001", "127.0.0.1"},
    {"010.0.0.1", "8.0.0.1"},
    {"127.1", "127.0.0.1"},
    {"127.0.0.1.", "write that"},
    {"example.123", "ends in a number"},
    {"*.example.123", "ends in a number"},
    {"*.0x7f", "IPv4 address"},
    {"example.0xyz", "ends in a number"},
    {"1.2.3.4.5", "ends in a number"},
    {"\xef\xbc\x91\xef\xbc\x92\xef\xbc\x97.1", "127.0.0.1"}, /* wide digits */
    {"10.0.0.0/33", "from 0 to 32"},
    {"10.0.0.0/", "from 0 to 32"},
    {"10.0.0.0/255.0.0.0", "from 0 to 32"},
    {"10.0.0.0/-1", "from 0 to 32"},
    {"2001:db8::/129", "from 0 to 128"},
    {".example.com", "write *.example.com"},
    {"*.*.example.com", "write *.example.com"},
    {"*.*.*.example.com", "write *.example.com"},
    {"*.*", "first label"},
    {"[::1]", "write ::1"},
    {"[", "'['"},
    {"[]", "'['"},
    {"[2001:db8::1]:443", "no port"},
    {"::ffff:10.0.0.1", "IPv4-mapped"},
    {"\xf0\x9f\x92\xa9.example", "write xn--ls8h.example"},
    {"a.\xe2\x98\x83-\xe2\x99\xa5.b\xc3\xbc"
     "cher.example",
     "write a.xn----"},
    {"https://example.com/", "no scheme"},
    {"example.com:443", "no port"},
    {"a.0", "ends in a number"},
    {"1.2.3.4", NULL},
    {"123.example", NULL},
    {"a.b0x1", NULL},
    {"4.3.2.1.in-addr.arpa", NULL},
    {"10-20.example", NULL},
    {"b\xc3\xbc"
     "cher.example",
     NULL},
    {"xn--ls8h.example", NULL},
};

START_TEST(each_says_what_to_write)
{
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct rule_list *list;
        struct why why = {""};
        ck_assert_int_eq(rule_list_new(&list), 0);
        int error = rule_list_add(list, ACTION_DENY, cases[i].text, &why);
        ck_assert_msg(error == (cases[i].said ? -EINVAL : 0), "%s: %d", cases[i].text, error);
        if (cases[i].said)
            ck_assert_msg(strstr(why.text, cases[i].said) && strlen(why.text) < WHY_MAX - 1, "%s: %s", cases[i].text,
                          why.text);
        rule_list_free(list);
    }
}
END_TEST

/* An octet that is no character of a name stays one, wherever it stands: NUL cannot, in a C string. */
START_TEST(no_octet_is_passed_over)
{
    for (unsigned octet = 1; octet < 256; octet++) {
        const char text[] = {'e', 'v', 'i', 'l', (char)octet, '.', 'a', '.', 't', 'e', 's', 't', 0};
        struct rule_list *list;
        ck_assert_int_eq(rule_list_new(&list), 0);
        bool good = !rule_list_add(list, ACTION_ALLOW, text, NULL);
        bool plain = strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_", (int)octet) != NULL;
        ck_assert_msg(good == plain, "octet 0x%02x", octet);
        rule_list_free(list);
    }
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("bad_target");
    TCase *tc = tcase_create("bad_target");
    tcase_add_test(tc, each_says_what_to_write);
    tcase_add_test(tc, no_octet_is_passed_over);
    suite_add_tcase(suite, tc);
    return suite;
}
