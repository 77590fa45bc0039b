/* The table in the kernel, as nft(8) lists it. Every test has a network namespace of its own. */
#include "base/ip_ranges.h"
#include "nft_plain.h"
#include "runner.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

START_TEST(whole_table)
{
    struct sock_addr upstreams[3];
    sock_addr_parse("10.0.0.2", 53, &upstreams[0]);
    sock_addr_parse("127.0.0.1:5353", 53, &upstreams[1]);
    sock_addr_parse("9.9.9.9:5454", 53, &upstreams[2]);
    struct ip_addr exempt[] = {ip("9.9.9.9"), ip("2620:fe::fe")};
    struct nft_settings settings = plain;
    settings.upstreams = upstreams;
    settings.n_upstreams = 3;
    settings.exempt = exempt;
    settings.n_exempt = 2;
    settings.log_peers = true;
    settings.block_doh_443 = true;
    settings.doh_blocklist = ranges("1.1.1.1", "2606:4700::/32", NULL);
    struct nft_policy policy = {.always_deny = ranges("169.254.169.254", NULL),
                                .always_allow = ranges("10.1.2.3", NULL),
                                .deny = ranges("10.0.0.0/8", "fc00::/7", NULL),
                                .allow = ranges("192.0.2.0/24", "2001:db8::/32", NULL)};
    struct nft *nft = installed(&settings, &policy);
    ck_assert_int_eq(learn(nft, "198.51.100.7", A, 300), 0);
    expect_table("whole.txt");
    nft_free(nft);
}
END_TEST

START_TEST(dns_mode_has_only_the_redirect)
{
    struct nft_settings settings = plain;
    settings.filter = false;
    struct nft *nft = installed(&settings, &deny_all);
    ck_assert_int_eq(learn(nft, "198.51.100.7", A, 300), 0);
    ck_assert_int_eq(nft_apply(nft, &deny_all, everything, NULL, NULL), 0);
    expect_table("dns_mode.txt");
    nft_free(nft);
}
END_TEST

START_TEST(closed_when_absent)
{
    ck_assert_int_eq(nft_close_unless_guarded(false, NULL), 0);
    expect_table("closed.txt");
    ck_assert_int_eq(nft_close_unless_guarded(false, NULL), 0);
    expect_table("closed.txt");
}
END_TEST

START_TEST(a_table_that_is_there_is_not_closed)
{
    struct nft_settings settings = plain;
    settings.filter = false;
    nft_free(installed(&settings, &deny_all));
    ck_assert_int_eq(nft_close_unless_guarded(false, NULL), 0);
    expect_table("dns_mode.txt");
}
END_TEST

START_TEST(removed_twice)
{
    nft_free(installed(&plain, &deny_all));
    ck_assert_int_eq(nft_remove(NULL), 0);
    ck_assert_str_eq(output("nft list ruleset"), "");
    ck_assert_int_eq(nft_remove(NULL), 0);
}
END_TEST

START_TEST(takes_over_a_foreign_table)
{
    run("nft 'table inet opensandbox { set dyn_allow_v4 { type inet_service; flags constant\n }\n"
        "set deny_v4 { type ipv4_addr . inet_service\n }\n"
        "chain dns { type filter hook input priority 7\n }\n chain other { }\n"
        "chain egress { type filter hook output priority -5; policy accept; jump other\n }\n }'");
    struct nft_settings settings = plain;
    settings.filter = false;
    nft_free(installed(&settings, &deny_all));
    expect_table("dns_mode.txt");
}
END_TEST

START_TEST(ranges_at_the_ends_of_the_address_space)
{
    struct nft_policy policy = {.deny = ranges("0.0.0.0/8", "240.0.0.0/4", "::/0", NULL),
                                .allow = ranges("0.0.0.0/0", "::/128", "ffff::/16", NULL),
                                .always_deny = ranges("255.255.255.255", "10.0.0.0/24", "10.0.1.0/32", NULL)};
    struct nft *nft = installed(&plain, &policy);
    expect("nft list set inet opensandbox deny_v4", "{ 0.0.0.0/8, 240.0.0.0/4 }");
    expect("nft list set inet opensandbox deny_v6", "{ ::/0 }");
    expect("nft list set inet opensandbox allow_v4", "{ 0.0.0.0/0 }");
    expect("nft list set inet opensandbox allow_v6", "{ ::,");
    expect("nft list set inet opensandbox allow_v6", "ffff::/16 }");
    expect("nft list set inet opensandbox always_deny_v4", "{ 10.0.0.0-10.0.1.0, 255.255.255.255 }");
    nft_free(nft);
}
END_TEST

/* `n` ranges of 2 addresses, 4 apart. */
static struct ip_ranges many(uint32_t n)
{
    struct ip_range *list = calloc(n, sizeof(*list));
    for (uint32_t i = 0; i < n; i++) {
        uint32_t first = htonl(0x0b000000 + 4 * i), last = htonl(0x0b000001 + 4 * i);
        list[i] = (struct ip_range){ip_from_v4(&first), ip_from_v4(&last)};
    }
    return (struct ip_ranges){.v4 = list, .n_v4 = n};
}

START_TEST(large_policies_replace_one_another)
{
    static const uint32_t sizes[] = {4096, 100000, 1};
    struct nft *nft = installed(&plain, &deny_all);
    ck_assert_int_eq(learn(nft, "198.51.100.7", A, 300), 0);
    for (size_t i = 0; i < 3; i++) {
        struct why why = {""};
        struct nft_policy policy = {.allow = many(sizes[i])};
        int error = nft_apply(nft, &policy, everything, NULL, &why);
        ck_assert_msg(error == 0, "%s", why.text);
        ck_assert_uint_eq(occurrences(output("nft list set inet opensandbox allow_v4"), "/31"), sizes[i]);
        ip_ranges_done(&policy.allow);
    }
    expect("nft list set inet opensandbox dyn_allow_v4", "198.51.100.7");
    nft_free(nft);
}
END_TEST

START_TEST(the_default_changes)
{
    struct nft *nft = installed(&plain, &deny_all);
    struct nft_policy open = {.default_allow = true};
    expect("nft list chain inet opensandbox egress", "policy drop");
    ck_assert_int_eq(nft_apply(nft, &open, everything, NULL, NULL), 0);
    expect("nft list chain inet opensandbox egress", "policy accept");
    expect_not("nft list chain inet opensandbox fallback", "goto denied");
    ck_assert_int_eq(nft_apply(nft, &deny_all, everything, NULL, NULL), 0);
    expect("nft list chain inet opensandbox egress", "policy drop");
    expect("nft list chain inet opensandbox fallback", "goto denied");
    nft_free(nft);
}
END_TEST

static unsigned long number(const char *command)
{
    return strtoul(output("%s", command), NULL, 10);
}

#define N_RULES "nft -j list ruleset | grep -o '{\"rule\":' | wc -l"

START_TEST(what_is_counted)
{
    struct nft_policy policy = {.deny = ranges("10.0.0.0/8", "fc00::/7", NULL)},
                      more = {.deny = ranges("10.0.0.0/8", "fc00::/7", NULL),
                              .allow = ranges("192.0.2.1", "192.0.2.3", "2001:db8::1", NULL),
                              .default_allow = true};
    struct ip_addr exempt = ip("9.9.9.9");
    struct nft_settings settings = plain;
    settings.exempt = &exempt;
    settings.n_exempt = 1;
    settings.doh_blocklist = ranges("1.1.1.1", NULL);
    struct nft *nft = installed(&settings, &policy);
    unsigned long rules = number(N_RULES);
    ck_assert_uint_gt(rules, 10);
    ck_assert_uint_eq(metric_get(&counts, METRIC_NFT_RULES), rules + 4);
    ck_assert_uint_eq(metric_get(&counts, METRIC_NFT_UPDATES), 1);
    ck_assert_int_eq(nft_apply(nft, &more, everything, NULL, NULL), 0);
    ck_assert_uint_eq(number(N_RULES), rules);
    ck_assert_uint_eq(metric_get(&counts, METRIC_NFT_RULES), rules + 7);
    ck_assert_uint_eq(metric_get(&counts, METRIC_NFT_UPDATES), 2);

    ck_assert_int_eq(learn(nft, "198.51.100.7", A, 300), 0);
    ck_assert_int_eq(learn(nft, "198.51.100.8", A, 300), 0);
    ck_assert_int_eq(learn(nft, "2001:db8::7", A, 300), 0);
    ck_assert_uint_eq(metric_get(&counts, METRIC_ADDRESSES_V4), 2);
    ck_assert_uint_eq(metric_get(&counts, METRIC_ADDRESSES_V6), 1);
    ck_assert_uint_eq(metric_get(&counts, METRIC_NFT_UPDATES), 5);
    ck_assert_int_eq(nft_apply(nft, &policy, nothing, NULL, NULL), 0);
    ck_assert_uint_eq(metric_get(&counts, METRIC_ADDRESSES_V4), 0);
    ck_assert_uint_eq(metric_get(&counts, METRIC_ADDRESSES_V6), 0);
    ck_assert_uint_eq(metric_get(&counts, METRIC_NFT_RULES), rules + 4);

    ck_assert_int_eq(learn(nft, "198.51.100.9", A, 300), 0);
    nft_free(nft);
    ck_assert_int_eq(nft_open(&settings, &nft, NULL), 0);
    ck_assert_int_eq(nft_restore(nft, &policy, everything, NULL, NULL), 0);
    ck_assert_int_eq(nft_install(nft, &policy, NULL), 0);
    ck_assert_uint_eq(metric_get(&counts, METRIC_ADDRESSES_V4), 1);
    ck_assert_uint_eq(metric_get(&counts, METRIC_NFT_ERRORS), 0);
    run("nft delete table inet opensandbox");
    uint64_t updates = metric_get(&counts, METRIC_NFT_UPDATES);
    ck_assert_int_eq(learn(nft, "198.51.100.7", A, 300), -ENOENT);
    ck_assert_uint_eq(metric_get(&counts, METRIC_NFT_ERRORS), 1);
    ck_assert_uint_eq(metric_get(&counts, METRIC_NFT_UPDATES), updates);
    ck_assert_uint_eq(metric_get(&counts, METRIC_ADDRESSES_V4), 1);
    nft_free(nft);

    settings.filter = false;
    nft = installed(&settings, &policy);
    ck_assert_uint_eq(metric_get(&counts, METRIC_NFT_RULES), 0);
    nft_free(nft);
}
END_TEST

START_TEST(without_the_capability)
{
    pid_t child = fork();
    if (child == 0) {
        struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
        struct __user_cap_data_struct none[2] = {0};
        struct why why = {""};
        struct nft *nft = NULL;
        bool dropped = syscall(SYS_capset, &header, none) == 0;
        bool refused = nft_open(&plain, &nft, &why) == -EPERM && strstr(why.text, "CAP_NET_ADMIN") &&
                       nft_remove(&why) == -EPERM && nft_close_unless_guarded(false, &why) == -EPERM;
        _exit(dropped && refused ? 0 : 1);
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
}
END_TEST

START_TEST(too_many_upstreams)
{
    struct nft_settings settings = plain;
    struct nft *nft = NULL;
    settings.n_upstreams = NFT_UPSTREAMS_MAX + 1;
    ck_assert_int_eq(nft_open(&settings, &nft, NULL), -E2BIG);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("nft");
    TCase *tests = tcase_create("table");
    tcase_add_checked_fixture(tests, enter, NULL);
    tcase_set_timeout(tests, 30);
    tcase_add_test(tests, whole_table);
    tcase_add_test(tests, dns_mode_has_only_the_redirect);
    tcase_add_test(tests, closed_when_absent);
    tcase_add_test(tests, a_table_that_is_there_is_not_closed);
    tcase_add_test(tests, removed_twice);
    tcase_add_test(tests, takes_over_a_foreign_table);
    tcase_add_test(tests, ranges_at_the_ends_of_the_address_space);
    tcase_add_test(tests, large_policies_replace_one_another);
    tcase_add_test(tests, the_default_changes);
    tcase_add_test(tests, what_is_counted);
    tcase_add_test(tests, without_the_capability);
    tcase_add_test(tests, too_many_upstreams);
    suite_add_tcase(suite, tests);
    return suite;
}
