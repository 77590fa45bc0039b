/* What is said about learned addresses, and that asking changes nothing. Every test has a network namespace of its own.
 */
#include "base/loop.h"
#include "nft_plain.h"
#include "runner.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct told {
    char denied; /* names that start so */
    struct buf text;
};

static bool starts_otherwise(void *ctx, const uint8_t *name, size_t len)
{
    const struct told *told = ctx;
    return name[1] != told->denied;
}

static void tell(void *ctx, const struct lease_info *lease)
{
    struct told *told = ctx;
    ck_assert_int_eq(lease->state, LEASE_LEARNED);
    char addr[IP_TEXT_MAX];
    buf_printf(&told->text, "%s(%s) ", ip_format(&lease->addr, addr), lease->names);
    ck_assert_uint_ge(lease->seconds_left, 350);
    ck_assert_uint_le(lease->seconds_left, 360);
}

/* What a policy under which names with this letter are denied would take away, and does then. */
static void expect_lost(struct nft *nft, const struct nft_policy *policy, char denied, const char *expected)
{
    struct told told = {.denied = denied};
    buf_puts(&told.text, "");
    char before[16384];
    snprintf(before, sizeof(before), "%s", output("nft -s list ruleset"));
    nft_preview(nft, policy, starts_otherwise, tell, &told);
    ck_assert_str_eq(told.text.len ? told.text.data : "", expected);
    ck_assert_str_eq(output("nft -s list ruleset"), before);
    buf_done(&told.text);
}

START_TEST(a_name_that_is_denied_takes_its_addresses_along)
{
    struct nft *nft = installed(&plain, &deny_all);
    expect_lost(nft, &deny_all, 'a', "");
    ck_assert_int_eq(learn(nft, "198.51.100.1", A, 300), 0);
    ck_assert_int_eq(learn(nft, "198.51.100.2", B, 300), 0);
    ck_assert_int_eq(learn(nft, "198.51.100.3", A, 300), 0);
    ck_assert_int_eq(learn(nft, "198.51.100.3", B, 300), 0); /* shared: stays */
    ck_assert_int_eq(learn(nft, "2001:db8::2", B, 300), 0);
    expect_lost(nft, &deny_all, 'a', "198.51.100.1(a.example) ");
    expect_lost(nft, &deny_all, 'b', "198.51.100.2(b.example) 2001:db8::2(b.example) ");
    expect_lost(nft, &deny_all, 'c', "");
    nft_free(nft);
}
END_TEST

START_TEST(rules_for_addresses_count)
{
    struct nft *nft = installed(&plain, &deny_all);
    ck_assert_int_eq(learn(nft, "198.51.100.1", A, 300), 0);
    struct nft_policy policy = {.allow = ranges("198.51.100.0/24", NULL)};
    expect_lost(nft, &policy, 'a', "");
    policy = (struct nft_policy){.deny = ranges("198.51.100.0/24", NULL)};
    expect_lost(nft, &policy, 'c', "198.51.100.1(a.example) ");
    policy.always_allow = ranges("198.51.100.1", NULL);
    expect_lost(nft, &policy, 'a', "");
    policy.always_deny = ranges("198.51.100.1", NULL);
    expect_lost(nft, &policy, 'c', "198.51.100.1(a.example) ");
    /* What is refused already is not lost. */
    struct told told = {0};
    ck_assert_int_eq(nft_apply(nft, &policy, starts_otherwise, &told, NULL), 0);
    expect_lost(nft, &policy, 'a', "");
    nft_free(nft);
}
END_TEST

START_TEST(asking_leaves_the_names_as_they_were)
{
    struct nft *nft = installed(&plain, &deny_all);
    ck_assert_int_eq(learn(nft, "198.51.100.1", A, 300), 0);
    for (int i = 0; i < 3; i++)
        expect_lost(nft, &deny_all, 'a', "198.51.100.1(a.example) ");
    ck_assert_int_eq(learn(nft, "198.51.100.1", B, 300), 0);
    expect("nft -s list set inet opensandbox dyn_allow_v4", "comment \"a.example,b.example\"");
    nft_free(nft);
}
END_TEST

START_TEST(what_is_known_of_an_address)
{
    struct nft *nft = installed(&plain, &deny_all);
    struct ip_addr addr = ip("198.51.100.1");
    struct lease_info lease;
    nft_lookup(nft, &addr, &lease);
    ck_assert_int_eq(lease.state, LEASE_NONE);
    ck_assert(ip_equal(&lease.addr, &addr));
    ck_assert_int_eq(learn(nft, "198.51.100.1", A, 300), 0);
    ck_assert_int_eq(learn(nft, "198.51.100.1", B, 300), 0);
    nft_lookup(nft, &addr, &lease);
    ck_assert_int_eq(lease.state, LEASE_LEARNED);
    ck_assert_str_eq(lease.names, "a.example,b.example");
    ck_assert_uint_ge(lease.seconds_left, 350);
    ck_assert_uint_le(lease.seconds_left, 360);
    struct told told = {.denied = 'a'};
    ck_assert_int_eq(nft_apply(nft, &deny_all, starts_otherwise, &told, NULL), 0);
    nft_lookup(nft, &addr, &lease);
    ck_assert_int_eq(lease.state, LEASE_LEARNED);
    ck_assert_str_eq(lease.names, "b.example");
    told.denied = 'b';
    ck_assert_int_eq(nft_apply(nft, &deny_all, starts_otherwise, &told, NULL), 0);
    nft_lookup(nft, &addr, &lease);
    ck_assert_int_eq(lease.state, LEASE_REVOKED);
    ck_assert_str_eq(lease.names, "b.example");
    ck_assert_uint_gt(lease.seconds_left, 360);
    nft_free(nft);
}
END_TEST

static void join(void *ctx, const struct lease_info *lease)
{
    char text[IP_TEXT_MAX];
    buf_printf(ctx, "%s%s(%s) ", lease->state == LEASE_REVOKED ? "!" : "", ip_format(&lease->addr, text), lease->names);
}

static void expect_listed(const struct nft *nft, size_t max, size_t total, const char *text)
{
    struct buf list = {0};
    ck_assert_uint_eq(nft_list(nft, max, join, &list), total);
    ck_assert_str_eq(list.data ? list.data : "", text);
    buf_done(&list);
}

START_TEST(all_leases)
{
    struct nft *nft = installed(&plain, &deny_all);
    expect_listed(nft, 10, 0, "");
    ck_assert_int_eq(learn(nft, "198.51.100.1", A, 300), 0);
    ck_assert_int_eq(learn(nft, "2001:db8::1", B, 300), 0);
    expect_listed(nft, 10, 2, "198.51.100.1(a.example) 2001:db8::1(b.example) ");
    struct told told = {.denied = 'a'};
    ck_assert_int_eq(nft_apply(nft, &deny_all, starts_otherwise, &told, NULL), 0);
    expect_listed(nft, 10, 2, "2001:db8::1(b.example) !198.51.100.1(a.example) ");
    expect_listed(nft, 1, 2, "2001:db8::1(b.example) ");
    nft_free(nft);
}
END_TEST

START_TEST(as_json)
{
    struct lease_info lease = {ip("2001:db8::1"), LEASE_REVOKED, 7, "a.test,q\\034u"};
    struct buf json = {0};
    lease_info_to_json(&lease, &json);
    ck_assert_str_eq(json.data, "{\"address\":\"2001:db8::1\",\"state\":\"revoked\",\"seconds\":7,"
                                "\"names\":[\"a.test\",\"q\\\\034u\"]}");
    buf_done(&json);
    lease = (struct lease_info){ip("192.0.2.1"), LEASE_LEARNED, 0, ""};
    lease_info_to_json(&lease, &json);
    ck_assert_str_eq(json.data, "{\"address\":\"192.0.2.1\",\"state\":\"learned\",\"seconds\":0,\"names\":[]}");
    buf_done(&json);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("nft_inspect");
    TCase *tcase = tcase_create("nft_inspect");
    tcase_add_checked_fixture(tcase, enter, NULL);
    tcase_set_timeout(tcase, 30);
    tcase_add_test(tcase, a_name_that_is_denied_takes_its_addresses_along);
    tcase_add_test(tcase, rules_for_addresses_count);
    tcase_add_test(tcase, asking_leaves_the_names_as_they_were);
    tcase_add_test(tcase, what_is_known_of_an_address);
    tcase_add_test(tcase, all_leases);
    tcase_add_test(tcase, as_json);
    suite_add_tcase(suite, tcase);
    return suite;
}
