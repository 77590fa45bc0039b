#include "base/ip.h"
#include "runner.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct ip_addr addr(const char *text)
{
    struct ip_addr ip;
    ck_assert_msg(ip_parse(text, &ip) == 0, "%s", text);
    return ip;
}

START_TEST(addresses_are_read_and_written)
{
    static const char *const pairs[][2] = {
        {"0.0.0.0", "0.0.0.0"},
        {"255.255.255.255", "255.255.255.255"},
        {"::", "::"},
        {"2001:DB8:0:0:0:0:0:1", "2001:db8::1"},
        {"::ffff:1.2.3.4", "::ffff:1.2.3.4"},
        {"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
    };
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        struct ip_addr ip = addr(pairs[i][0]);
        char text[IP_TEXT_MAX];
        ck_assert_str_eq(ip_format(&ip, text), pairs[i][1]);
    }
}
END_TEST

START_TEST(what_is_no_address_is_refused)
{
    static const char *const texts[] = {
        "",      " ",          "1.2.3", "1.2.3.4.5",  "1.2.3.256", "01.2.3.4", "1.2.3.4 ",
        "[::1]", "fe80::1%lo", ":::",   "1.2.3.4/32", "a",         "::g",      "1:2:3:4:5:6:7:8:9"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct ip_addr ip = {.family = 77};
        ck_assert_msg(ip_parse(texts[i], &ip) == -EINVAL, "%s", texts[i]);
        ck_assert_int_eq(ip.family, 77);
    }
}
END_TEST

START_TEST(prefixes_lose_their_host_bits)
{
    static const struct {
        const char *text, *first, *last;
        int bits;
    } cases[] = {
        {"10.1.2.3", "10.1.2.3", "10.1.2.3", 32},
        {"10.1.2.3/32", "10.1.2.3", "10.1.2.3", 32},
        {"10.1.2.3/8", "10.0.0.0", "10.255.255.255", 8},
        {"10.255.2.3/9", "10.128.0.0", "10.255.255.255", 9},
        {"10.1.2.3/0", "0.0.0.0", "255.255.255.255", 0},
        {"10.1.2.3/31", "10.1.2.2", "10.1.2.3", 31},
        {"2001:db8::1/32", "2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", 32},
        {"2001:db8::1", "2001:db8::1", "2001:db8::1", 128},
        {"ffff::1/0", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 0},
        {"2001:db8::ff/121", "2001:db8::80", "2001:db8::ff", 121},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct ip_prefix prefix;
        ck_assert_msg(ip_prefix_parse(cases[i].text, &prefix) == 0, "%s", cases[i].text);
        struct ip_addr first = addr(cases[i].first), last = addr(cases[i].last);
        struct ip_range range = ip_prefix_range(&prefix);
        ck_assert_msg(ip_equal(&prefix.addr, &first), "%s", cases[i].text);
        ck_assert_msg(ip_equal(&range.first, &first) && ip_equal(&range.last, &last), "%s", cases[i].text);
        ck_assert_int_eq(prefix.bits, cases[i].bits);
    }
}
END_TEST

START_TEST(what_is_no_prefix_is_refused)
{
    static const char *const texts[] = {"",
                                        "/",
                                        "/8",
                                        "10.0.0.0/",
                                        "10.0.0.0/33",
                                        "10.0.0.0/-1",
                                        "10.0.0.0/+8",
                                        "10.0.0.0/ 8",
                                        "10.0.0.0/8/8",
                                        "10.0.0.0/0x8",
                                        "10.0.0.0/4294967304",
                                        "::/129",
                                        "10.0/8",
                                        "::1/128 ",
                                        "0000:0000:0000:0000:0000:ffff:255.255.255.255/000000000128"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct ip_prefix prefix;
        ck_assert_msg(ip_prefix_parse(texts[i], &prefix) == -EINVAL, "%s", texts[i]);
    }
    struct ip_prefix longest;
    ck_assert_int_eq(ip_prefix_parse("0000:0000:0000:0000:0000:0000:255.255.255.255/128", &longest), 0);
}
END_TEST

START_TEST(order_and_succession)
{
    static const char *const ascending[] = {"0.0.0.0", "0.0.0.255", "9.255.255.255", "10.0.0.0", "255.255.255.255",
                                            "::",      "::1",       "2001:db8::",    "ff00::"};
    for (size_t i = 0; i < 9; i++)
        for (size_t k = 0; k < 9; k++) {
            struct ip_addr a = addr(ascending[i]), b = addr(ascending[k]);
            int order = ip_compare(&a, &b);
            ck_assert_int_eq((order > 0) - (order < 0), (i > k) - (i < k));
            ck_assert_int_eq(ip_equal(&a, &b), i == k);
        }
    struct ip_addr next, from = addr("10.0.255.255"), expected = addr("10.1.0.0");
    ck_assert(ip_next(&from, &next) && ip_equal(&next, &expected));
    from = addr("2001:db8::ffff:ffff");
    expected = addr("2001:db8::1:0:0");
    ck_assert(ip_next(&from, &next) && ip_equal(&next, &expected));
    from = addr("255.255.255.255");
    ck_assert(!ip_next(&from, &next));
    from = addr("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
    ck_assert(!ip_next(&from, &next));
}
END_TEST

START_TEST(what_a_gateway_makes_of_an_address)
{
    static const char *const forms[][2] = {
        {"64:ff9b::127.0.0.1", "127.0.0.1"},
        {"2002:7f00:1::5", "127.0.0.1"},
        {"2001:db8::5efe:169.254.169.254", "169.254.169.254"},
        {"2001:db8:1:2:200:5efe:10.0.0.1", "10.0.0.1"},
        {"2001:db8::5eff:10.0.0.1", NULL},
        {"2001:db8::100:5efe:10.0.0.1", NULL},
        {"64:ff9b:0:1::10.0.0.1", NULL},
        {"2001:db8::1", NULL},
        {"127.0.0.1", NULL},
    };
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        struct ip_addr addr, v4;
        char text[IP_TEXT_MAX];
        ck_assert_int_eq(ip_parse(forms[i][0], &addr), 0);
        ck_assert_msg(ip_leads_to(&addr, &v4) == (forms[i][1] != NULL), "%s", forms[i][0]);
        if (forms[i][1])
            ck_assert_str_eq(ip_format(&v4, text), forms[i][1]);
    }
}
END_TEST

START_TEST(socket_addresses_are_read_and_written)
{
    static const char *const pairs[][2] = {
        {"1.2.3.4", "1.2.3.4:53"},
        {"1.2.3.4:5353", "1.2.3.4:5353"},
        {"1.2.3.4:65535", "1.2.3.4:65535"},
        {"::1", "[::1]:53"},
        {"[::1]", "[::1]:53"},
        {"[::1]:1", "[::1]:1"},
        {"2001:db8::5353", "[2001:db8::5353]:53"},
    };
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        struct sock_addr sa, again;
        char text[SOCK_ADDR_TEXT_MAX];
        ck_assert_msg(sock_addr_parse(pairs[i][0], 53, &sa) == 0, "%s", pairs[i][0]);
        ck_assert_str_eq(sock_addr_format(&sa, text), pairs[i][1]);
        ck_assert_int_eq(sock_addr_parse(text, 1, &again), 0);
        ck_assert(sock_addr_equal(&sa, &again));
        struct ip_addr ip = sock_addr_ip(&sa);
        struct sock_addr made = sock_addr_make(&ip, sock_addr_port(&sa));
        ck_assert_mem_eq(&made, &sa, sizeof(sa));
        ck_assert_uint_eq(sock_addr_len(&sa),
                          ip.family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6));
    }
}
END_TEST

START_TEST(what_is_no_socket_address_is_refused)
{
    static const char *const texts[] = {"",
                                        ":",
                                        ":53",
                                        "1.2.3.4:",
                                        "1.2.3.4:0",
                                        "dns:53",
                                        "1.2.3.4:65536",
                                        "1.2.3.4:5a",
                                        "1.2.3.4:-1",
                                        "[::1",
                                        "[::1]53",
                                        "[::1]:",
                                        "[::1]:0",
                                        "[1.2.3.4]:53",
                                        "[]:53",
                                        "[fe80::1%lo]:53",
                                        "1.2.3.4 :53",
                                        "dns.example"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct sock_addr sa;
        ck_assert_msg(sock_addr_parse(texts[i], 53, &sa) == -EINVAL, "%s", texts[i]);
    }
}
END_TEST

START_TEST(special_addresses)
{
    static const char *const special[] = {"0.0.0.0",
                                          "0.1.2.3",
                                          "127.0.0.1",
                                          "127.255.0.1",
                                          "169.254.0.1",
                                          "169.254.169.254",
                                          "224.0.0.1",
                                          "239.1.2.3",
                                          "::",
                                          "::1",
                                          "fe80::1",
                                          "febf::1",
                                          "ff02::1",
                                          "255.255.255.255",
                                          "::ffff:10.0.0.1",
                                          "::ffff:203.0.113.1",
                                          "100.100.100.200",
                                          "168.63.129.16",
                                          "192.0.0.192",
                                          "240.0.0.1",
                                          "::2",
                                          "::203.0.113.1",
                                          "::ffff:0:203.0.113.1",
                                          "64:ff9b:1::203.0.113.1",
                                          "64:ff9b:1:ffff::1",
                                          "2001::1",
                                          "2001:0:ffff::1",
                                          "fec0::1",
                                          "feff::1",
                                          "fd00:ec2::254",
                                          "fd20:ce::254",
                                          "fd00:c1::a9fe:a9fe",
                                          "fd00:42::42"};
    static const char *const others[] = {"1.0.0.1",
                                         "126.1.1.1",
                                         "128.0.0.1",
                                         "169.253.1.1",
                                         "169.255.1.1",
                                         "223.1.1.1",
                                         "10.0.0.1",
                                         "172.16.0.1",
                                         "192.168.1.1",
                                         "100.100.100.199",
                                         "168.63.129.17",
                                         "192.0.0.170",
                                         "fd00::1",
                                         "fd00:ec3::254",
                                         "fd20:cf::254",
                                         "2001:1::1",
                                         "64:ff9b:2::1",
                                         "2001:db8::1",
                                         "64:ff9b::203.0.113.1",
                                         "64:ff9b::127.0.0.1", /* what these lead to is another question */
                                         "2002:7f00:1::5",
                                         "2001:db8::5efe:127.0.0.1"};
    struct ip_addr addr;
    for (size_t i = 0; i < sizeof(special) / sizeof(special[0]); i++) {
        ck_assert_int_eq(ip_parse(special[i], &addr), 0);
        ck_assert_msg(ip_is_special(&addr), "%s", special[i]);
    }
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        ck_assert_int_eq(ip_parse(others[i], &addr), 0);
        ck_assert_msg(!ip_is_special(&addr), "%s", others[i]);
    }
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("ip");
    TCase *tc = tcase_create("ip");
    tcase_add_test(tc, addresses_are_read_and_written);
    tcase_add_test(tc, what_is_no_address_is_refused);
    tcase_add_test(tc, prefixes_lose_their_host_bits);
    tcase_add_test(tc, what_is_no_prefix_is_refused);
    tcase_add_test(tc, order_and_succession);
    tcase_add_test(tc, special_addresses);
    tcase_add_test(tc, what_a_gateway_makes_of_an_address);
    tcase_add_test(tc, socket_addresses_are_read_and_written);
    tcase_add_test(tc, what_is_no_socket_address_is_refused);
    suite_add_tcase(suite, tc);
    return suite;
}
