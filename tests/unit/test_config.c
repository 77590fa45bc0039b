/* The environment: defaults, every form of a value, and the one line that a wrong one gives. */
#include "config.h"

#include "runner.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NAME(suffix) "OPENSANDBOX_EGRESS_" suffix

static struct config *config;
static struct why why;

static void forget_environment(void)
{
    clearenv();
}

static void release_config(void)
{
    config_free(config);
    config = NULL;
}

static void parse_one(const char *name, const char *value)
{
    release_config();
    clearenv();
    setenv(name, value, 1);
    ck_assert_msg(config_from_env(&config, &why) == 0, "%s=%s: %s", name, value, why.text);
}

static void refuse_one(const char *name, const char *value)
{
    clearenv();
    setenv(name, value, 1);
    struct config *none = NULL;
    ck_assert_msg(config_from_env(&none, &why) == -EINVAL, "%s=%s was taken", name, value);
    ck_assert_ptr_null(none);
    ck_assert_msg(strstr(why.text, name) && strstr(why.text, "expected"), "%s", why.text);
}

static void check_http(const char *expected)
{
    char text[SOCK_ADDR_TEXT_MAX];
    ck_assert_str_eq(sock_addr_format(&config->http_addr, text), expected);
}

START_TEST(defaults)
{
    ck_assert_int_eq(config_from_env(&config, &why), 0);
    ck_assert(!config->filter && !config->token && !config->policy_file && !config->n_upstreams &&
              !config->remove_on_exit);
    ck_assert_str_eq(config->mode, "dns");
    ck_assert_str_eq(config->rules_dir, "/var/egress/rules");
    ck_assert(config->http_any);
    check_http("[::]:18080");
    ck_assert_uint_eq(config->max_rules, 4096);
    ck_assert_uint_eq(config->dns_port, 15353);
    ck_assert_uint_eq(config->upstream_timeout_s, 5);
    ck_assert_uint_eq(config->max_addresses, 262144);
    ck_assert_uint_eq(config->dns_cache, 4096);
    ck_assert_uint_eq(config->n_log_outputs, 1);
    ck_assert_str_eq(config->log_outputs[0], "stdout");
    ck_assert_uint_eq(config->n_warnings, 0);
}
END_TEST

START_TEST(modes)
{
    static const char *const filtering[] = {"dns+nft", "nft+dns", " DNS + NFT ", "dns+nft+dns"};
    for (size_t i = 0; i < 4; i++) {
        parse_one(NAME("MODE"), filtering[i]);
        ck_assert(config->filter);
        ck_assert_str_eq(config->mode, "dns+nft");
    }
    parse_one(NAME("MODE"), "Dns");
    ck_assert(!config->filter && !config->audit);
    ck_assert_str_eq(config->mode, "dns");
    static const char *const observing[] = {"dns+nft+audit", "AUDIT+nft+Dns", "dns + audit + nft + audit"};
    for (size_t i = 0; i < 3; i++) {
        parse_one(NAME("MODE"), observing[i]);
        ck_assert(config->filter && config->audit);
        ck_assert_str_eq(config->mode, "dns+nft+audit");
    }
    parse_one(NAME("MODE"), "audit+dns");
    ck_assert(!config->filter && config->audit);
    ck_assert_str_eq(config->mode, "dns+audit");
    parse_one(NAME("MODE"), "  "); /* blank is not set */
    ck_assert(!config->filter);
    static const char *const wrong[] = {"nft",    "dns,nft",     "dns+",  "+dns",     "dns++nft",
                                        "dnsnft", "dns+audit+x", "audit", "nft+audit"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        refuse_one(NAME("MODE"), wrong[i]);
}
END_TEST

START_TEST(addresses)
{
    parse_one(NAME("HTTP_ADDR"), ":8080");
    ck_assert(config->http_any);
    check_http("[::]:8080");
    parse_one(NAME("HTTP_ADDR"), "127.0.0.1:80");
    ck_assert(!config->http_any);
    check_http("127.0.0.1:80");
    parse_one(NAME("HTTP_ADDR"), "[::1]:80");
    check_http("[::1]:80");
    static const char *const wrong[] = {"80", "127.0.0.1", "::1", "[::1]", ":0", ":65536", ":", "host:80"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        refuse_one(NAME("HTTP_ADDR"), wrong[i]);
}
END_TEST

START_TEST(upstreams)
{
    parse_one(NAME("DNS_UPSTREAM"),
              "192.0.2.1, 192.0.2.1:53 ,192.0.2.1:5353,2001:db8::1,[2001:db8::1],[2001:db8::1]:54,");
    static const char *const expected[] = {"192.0.2.1:53", "192.0.2.1:5353", "[2001:db8::1]:53", "[2001:db8::1]:54"};
    ck_assert_uint_eq(config->n_upstreams, 4);
    for (size_t i = 0; i < 4; i++) {
        char text[SOCK_ADDR_TEXT_MAX];
        ck_assert_str_eq(sock_addr_format(&config->upstreams[i], text), expected[i]);
    }
    static const char *const wrong[] = {",",       "dns.test", "192.0.2.1:0", "[192.0.2.1]",
                                        "192.0.2", "0.0.0.0",  "::",          "ff02::1"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        refuse_one(NAME("DNS_UPSTREAM"), wrong[i]);
}
END_TEST

START_TEST(lists)
{
    parse_one(NAME("NAMESERVER_EXEMPT"), "192.0.2.1,2001:db8::1");
    ck_assert_uint_eq(config->n_exempt, 2);
    parse_one(NAME("DOH_BLOCKLIST"), "1.1.1.0/24, 1.1.0.0/24 ,2606::/16");
    ck_assert_uint_eq(config->doh_blocklist.n_v4, 1); /* neighbours are one range */
    ck_assert_uint_eq(config->doh_blocklist.n_v6, 1);
    parse_one("OPENSANDBOX_LOG_OUTPUT", "stderr, /tmp/a.log");
    ck_assert_uint_eq(config->n_log_outputs, 2);
    ck_assert_str_eq(config->log_outputs[1], "/tmp/a.log");
    refuse_one(NAME("NAMESERVER_EXEMPT"), "192.0.2.1:53");
    refuse_one(NAME("DOH_BLOCKLIST"), "1.1.1.1/33");
}
END_TEST

START_TEST(attributes)
{
    parse_one(NAME("METRICS_EXTRA_ATTRS"), "team=first,=x,y=, plain ,env = prod,level=fatal,result=x, team=a=b");
    ck_assert_uint_eq(config->n_extra_attrs, 2);
    ck_assert_str_eq(config->extra_attrs[0].key, "team");
    ck_assert_str_eq(config->extra_attrs[0].value, "a=b");
    ck_assert_str_eq(config->extra_attrs[1].key, "env");
    ck_assert_str_eq(config->extra_attrs[1].value, "prod");
    ck_assert_uint_eq(config->n_warnings, 2); /* a second `level` on a line would hide the first; so with `result` */
}
END_TEST

START_TEST(what_security_depends_on_is_refused_and_tuning_only_warned_about)
{
    refuse_one(NAME("BLOCK_DOH_443"), "enabled");
    refuse_one(NAME("DNS_PORT"), "0");
    refuse_one(NAME("ON_EXIT"), "open");
    refuse_one(NAME("BAD_RULES"), "ignore");
    refuse_one(NAME("MITMPROXY_TRANSPARENT"), "true");
    static const char *const tuning[] = {NAME("MAX_RULES"), NAME("DNS_UPSTREAM_TIMEOUT"), NAME("DRAIN_SEC"),
                                         NAME("MAX_ADDRESSES"), NAME("LOG_LEVEL")};
    for (size_t i = 0; i < sizeof(tuning) / sizeof(tuning[0]); i++) {
        parse_one(tuning[i], "-1");
        ck_assert_uint_eq(config->n_warnings, 1);
        ck_assert_ptr_nonnull(strstr(config->warnings[0], tuning[i]));
        ck_assert(config->max_rules == 4096 && config->upstream_timeout_s == 5 && config->log_level == LOG_INFO);
    }
    parse_one(NAME("MAX_RULES"), "0");
    ck_assert_uint_eq(config->max_rules, 0);
    parse_one(NAME("LOG_LEVEL"), "WARNING");
    ck_assert_int_eq(config->log_level, LOG_WARN);
    parse_one(NAME("MITMPROXY_TRANSPARENT"), "no");
}
END_TEST

START_TEST(little_memory_lowers_what_is_not_set)
{
    parse_one(NAME("DNS_TCP_MAX_UNSENT_KIB"), "9999");
    config_fit(config, UINT64_MAX);
    ck_assert_uint_eq(config->max_addresses, 262144);
    config_fit(config, 32 << 20);
    ck_assert_uint_eq(config->max_addresses, 4096);
    ck_assert_uint_eq(config->tcp_unsent_kib, 9999);
    parse_one(NAME("MAX_ADDRESSES"), "262144");
    config_fit(config, 1);
    ck_assert_uint_eq(config->max_addresses, 262144);
    ck_assert_uint_eq(config->tcp_unsent_kib, 64); /* the least that may be set */
    parse_one(NAME("MAX_ADDRESSES"), "lots");      /* not used */
    config_fit(config, 64 << 20);
    ck_assert_uint_eq(config->max_addresses, 8192);
    ck_assert_uint_eq(config->tcp_unsent_kib, 8192);
}
END_TEST

START_TEST(host_network_is_asked_for_alone)
{
    ck_assert(!config_allows_host_network());
    setenv(NAME("ALLOW_HOST_NETWORK"), " Yes ", 1);
    setenv(NAME("MODE"), "nonsense", 1);
    ck_assert(config_allows_host_network());
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("config");
    TCase *tcase = tcase_create("config");
    tcase_add_checked_fixture(tcase, forget_environment, release_config);
    tcase_add_test(tcase, defaults);
    tcase_add_test(tcase, modes);
    tcase_add_test(tcase, addresses);
    tcase_add_test(tcase, upstreams);
    tcase_add_test(tcase, lists);
    tcase_add_test(tcase, attributes);
    tcase_add_test(tcase, what_security_depends_on_is_refused_and_tuning_only_warned_about);
    tcase_add_test(tcase, little_memory_lowers_what_is_not_set);
    tcase_add_test(tcase, host_network_is_asked_for_alone);
    suite_add_tcase(suite, tcase);
    return suite;
}
