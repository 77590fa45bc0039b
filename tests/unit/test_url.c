#include "base/url.h"
#include "tests/unit/runner.h"

#include <errno.h>

static struct url url;

START_TEST(hosts_and_ports)
{
    static const struct {
        const char *text, *host;
        bool tls, literal;
        uint16_t port;
    } cases[] = {
        {"http://example.com", "example.com", false, false, 80},
        {"https://example.com/a/b?c=d:e@f#g", "example.com", true, false, 443},
        {"HTTPS://Example.com:8443", "Example.com", true, false, 8443},
        {"http://user:pass@word@example.com:81/x", "example.com", false, false, 81},
        {"http://collector:4318/v1/logs", "collector", false, false, 4318},
        {"http://host.in.dots.:80?x", "host.in.dots.", false, false, 80},
        {"http://3com/", "3com", false, false, 80},
        {"http://a_b-c.xn--bcher-kva.example", "a_b-c.xn--bcher-kva.example", false, false, 80},
        {"http://192.0.2.1:8080/", "192.0.2.1", false, true, 8080},
        {"https://[2001:db8::1]", "2001:db8::1", true, true, 443},
        {"https://[2001:db8::1]:65535/", "2001:db8::1", true, true, 65535},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        ck_assert_msg(!url_parse(cases[i].text, &url), "%s", cases[i].text);
        ck_assert_str_eq(url.host, cases[i].host);
        ck_assert_int_eq(url.tls, cases[i].tls);
        ck_assert_int_eq(url.literal, cases[i].literal);
        ck_assert_uint_eq(url.port, cases[i].port);
    }
}
END_TEST

START_TEST(what_is_no_url_is_refused)
{
    static const char *const cases[] = {
        "",
        "example.com",
        "ftp://example.com",
        "http:/example.com",
        "http://",
        "http:///path",
        "http://:80",
        "http://user@",
        "http://exa mple.com",
        "http://example.com/\n",
        "http://b\xc3\xbc"
        "cher.example",
        "http://example.com:0",
        "http://example.com:65536",
        "http://example.com:80a",
        "http://example.com:",
        "http://a..b",
        "http://.a",
        "http://.",
        "http://a%2eb",
        "http://2001:db8::1/",
        "http://[2001:db8::1",
        "http://[2001:db8::1]x",
        "http://[192.0.2.1]",
        "http://[fe80::1%25eth0]/",
        "http://10.1",
        "http://0x7f.0.0.0x1",
        "http://1.2.3.4.5",
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        ck_assert_msg(url_parse(cases[i], &url) == -EINVAL, "%s", cases[i]);
}
END_TEST

START_TEST(secrets_are_not_shown)
{
    char out[URL_SHOWN_MAX];
    ck_assert_str_eq(url_shown("https://u:p@example.com:1/x?y#z", out), "https://...@example.com:1/...");
    ck_assert_str_eq(url_shown("https://example.com?token", out), "https://example.com/...");
    ck_assert_str_eq(url_shown("https://example.com", out), "https://example.com");
    ck_assert_str_eq(url_shown("hooks.example.com/T0/secret", out), "hooks.example.com/...");
    ck_assert_str_eq(url_shown("u:p@host", out), "...@host");
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("url");
    TCase *tc = tcase_create("url");
    tcase_add_test(tc, hosts_and_ports);
    tcase_add_test(tc, what_is_no_url_is_refused);
    tcase_add_test(tc, secrets_are_not_shown);
    suite_add_tcase(suite, tc);
    return suite;
}
