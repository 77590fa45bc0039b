/* resolv.conf as the C library reads it, and the names that its search list makes. */
#include "base/domain_name.h"
#include "dns/resolv_conf.h"

#include "dns/search_list.h"
#include "policy/name.h"
#include "rules.h"
#include "runner.h"

#include <stdio.h>
#include <stdlib.h>

static struct resolv_conf conf;

static unsigned index_of(const char *name)
{
    return !strcmp(name, "eth0") ? 7 : 0;
}

/* From a buffer of exactly its size, so that reading beyond it is seen. */
static void parse_on(const char *host, const char *text)
{
    size_t len = strlen(text);
    char *exact = malloc(len ? len : 1);
    memcpy(exact, text, len);
    resolv_conf_parse(exact, len, host, index_of, &conf);
    free(exact);
}

static void parse(const char *text)
{
    parse_on("host", text);
}

static void expect_servers(const char *const *servers, size_t n)
{
    ck_assert_uint_eq(conf.n_servers, n);
    for (size_t i = 0; i < n; i++) {
        char out[SOCK_ADDR_TEXT_MAX];
        ck_assert_str_eq(sock_addr_format(&conf.servers[i], out), servers[i]);
    }
}

static void expect_search(const char *words)
{
    char text[NAME_TEXT_MAX * 2] = "";
    for (size_t i = 0; i < conf.n_search; i++) {
        if (i)
            strcat(text, " ");
        domain_name_text(conf.search[i].name, conf.search[i].len, text + strlen(text));
    }
    ck_assert_str_eq(text, words);
}

START_TEST(nameservers_loopback_last_and_once)
{
    static const char *const expected[] = {"192.0.2.1:53", "[2001:db8::1]:53", "192.0.2.3:53", "127.0.0.53:53",
                                           "[::1]:53"};
    parse("# comment\n; nameserver 192.0.2.8\nnameserver 127.0.0.53\n nameserver 192.0.2.9\n"
          "nameserver\t192.0.2.1 # first\r\nsearch a.test\nnameserver 2001:db8::1\nnameserver 192.0.2.1\n"
          "nameserver nonsense\nnameserver192.0.2.7\nnameserver\nnameserver 192.0.2.3;second\n"
          "nameserver 192.0.2.4%eth0\nnameserver ::1");
    expect_servers(expected, 5);
    parse("");
    expect_servers(NULL, 0);
    char many[1024] = "";
    for (int i = 0; i < 20; i++)
        snprintf(many + strlen(many), sizeof(many) - strlen(many), "nameserver 192.0.2.%d\nnameserver 127.0.0.%d\n", i,
                 i);
    parse(many);
    ck_assert_uint_eq(conf.n_servers, RESOLV_CONF_SERVERS_MAX);
}
END_TEST

START_TEST(zones_of_link_local_servers)
{
    static const char *const expected[] = {"[fe80::1]:53", "[fe80::1]:53", "[fe80::2]:53"};
    parse("nameserver fe80::1%eth0\nnameserver fe80::1%3\nnameserver fe80::1%eth0\nnameserver fe80::2%gone\n");
    expect_servers(expected, 3);
    ck_assert_uint_eq(conf.servers[0].in6.sin6_scope_id, 7);
    ck_assert_uint_eq(conf.servers[1].in6.sin6_scope_id, 3);
    ck_assert_uint_eq(conf.servers[2].in6.sin6_scope_id, 0);
}
END_TEST

START_TEST(the_last_search_or_domain_counts)
{
    parse("search one.test Two.TEST.\tthree.test\n");
    expect_search("one.test two.test three.test");
    parse("search one.test two.test\ndomain three.test four.test\n");
    expect_search("three.test");
    parse("domain three.test\nsearch one.test two.test\nsearch\ndomain \n");
    expect_search("one.test two.test");
    parse("search one.test\nsearch .\n");
    expect_search("");
    parse(" search one.test\nsearching two.test\n#search three.test\n");
    expect_search("");
    char many[2048] = "search";
    for (int i = 0; i < 100; i++)
        snprintf(many + strlen(many), sizeof(many) - strlen(many), " n%d.test", i);
    parse(many);
    ck_assert_uint_eq(conf.n_search, RESOLV_CONF_SEARCH_MAX);
    char longest[1200] = "search ";
    memset(longest + 7, 'x', 1100);
    parse(longest);
    expect_search("");
}
END_TEST

/* glibc's res_init() does so, too. */
START_TEST(without_a_list_the_domain_of_the_host_is_searched)
{
    parse_on("host.Sub.test", "nameserver 192.0.2.1\nsearch\n");
    expect_search("sub.test");
    parse_on("host.sub.test", "");
    expect_search("sub.test");
    parse_on("host.sub.test", "search one.test\n");
    expect_search("one.test");
    parse_on("host.sub.test", "search .\n");
    expect_search("");
    parse_on("host.", "");
    expect_search("");
    parse_on("", "");
    expect_search("");
}
END_TEST

START_TEST(ndots)
{
    static const struct {
        const char *text;
        unsigned ndots;
    } cases[] = {{"", 1},
                 {"options ndots:5\n", 5},
                 {"options timeout:1 ndots:2\tedns0\n", 2},
                 {"options ndots:2\noptions ndots:3\noptions rotate", 3},
                 {"options ndots:99\n", 15},
                 {"options ndots:0\n", 0},
                 {"options ndots: 4\n", 1},
                 {"option ndots:4\n", 1}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        parse(cases[i].text);
        ck_assert_msg(conf.ndots == cases[i].ndots, "%s", cases[i].text);
    }
}
END_TEST

static bool made(enum action fallback, const char *rules, const char *name)
{
    _cleanup_policy_ struct policy *policy = policy_of(fallback, rules);
    struct policy_layers layers = {.policy = policy};
    uint8_t wire[NAME_WIRE_MAX];
    size_t len;
    ck_assert_int_eq(name_from_text(name, wire, &len, NULL), 0);
    return search_list_made(&layers, conf.search, conf.n_search, wire, len);
}

START_TEST(names_that_the_search_list_made)
{
    parse("search default.svc.cluster.local svc.cluster.local cluster.local\n");
    ck_assert(made(ACTION_DENY, "+pypi.org", "pypi.org.default.svc.cluster.local"));
    ck_assert(made(ACTION_DENY, "+pypi.org", "PYPI.org.cluster.local"));
    ck_assert(made(ACTION_DENY, "+*.pypi.org -*.cluster.local", "files.pypi.org.svc.cluster.local"));
    ck_assert(!made(ACTION_DENY, "+pypi.org", "pypi.org.example.test"));
    ck_assert(!made(ACTION_DENY, "+pypi.org", "other.org.cluster.local"));
    ck_assert(!made(ACTION_DENY, "+pypi.org", "pypi.orgcluster.local"));
    ck_assert(!made(ACTION_DENY, "+pypi.org", "cluster.local"));
    ck_assert(!made(ACTION_DENY, "+pypi.org", "local"));
    ck_assert(!made(ACTION_DENY, "-*.cluster.local +*", "secret.svc.cluster.local"));
    ck_assert(!made(ACTION_ALLOW, "-*.cluster.local", "secret.svc.cluster.local"));
    parse("");
    ck_assert(!made(ACTION_DENY, "+pypi.org", "pypi.org.cluster.local"));
}
END_TEST

/* A label's octets can look like the end of a name: "\x05local" within a label is no label "local". */
START_TEST(suffixes_begin_at_labels)
{
    static const uint8_t name[] = "\x0apypi.\5local"; /* one label of ten octets, and the root */
    _cleanup_policy_ struct policy *policy = policy_of(ACTION_DENY, "+pypi");
    struct policy_layers layers = {.policy = policy};
    parse("search local\n");
    ck_assert(!search_list_made(&layers, conf.search, conf.n_search, name, sizeof(name)));
    ck_assert(made(ACTION_DENY, "+pypi", "pypi.local"));
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("resolv_conf");
    TCase *tcase = tcase_create("resolv_conf");
    tcase_add_test(tcase, nameservers_loopback_last_and_once);
    tcase_add_test(tcase, zones_of_link_local_servers);
    tcase_add_test(tcase, the_last_search_or_domain_counts);
    tcase_add_test(tcase, without_a_list_the_domain_of_the_host_is_searched);
    tcase_add_test(tcase, ndots);
    tcase_add_test(tcase, names_that_the_search_list_made);
    tcase_add_test(tcase, suffixes_begin_at_labels);
    suite_add_tcase(suite, tcase);
    return suite;
}
