/* What a process takes over from the one before it. Every test has a network namespace of its own. */
#include "base/loop.h"
#include "nft_fixture.h"
#include "runner.h"

#include <string.h>
#include <unistd.h>

#define A "\1a\7example"
#define B "\1b\7example"
#define LIST_ALLOW "nft -s list set inet opensandbox dyn_allow_v4"
#define LIST_ALLOW_V6 "nft -s list set inet opensandbox dyn_allow_v6"
#define LIST_REVOKED "nft -s list set inet opensandbox revoked_v4"
#define N_MANY 5000

static struct metrics counts;
static const struct nft_settings plain = {
    .filter = true, .dns_port = DNS_PORT, .mark = MARK, .metrics = &counts, .max_addresses = N_MANY};
static const struct nft_policy deny_all = {0};

static void enter(void)
{
    close(netns_enter_new());
}

/* Names that start with a letter in `ctx` are denied. */
static bool starts_otherwise(void *ctx, const uint8_t *name, size_t len)
{
    return !strchr(ctx, name[1]);
}

static struct nft *restarted(const struct nft_settings *settings, const struct nft_policy *policy, char *denied)
{
    struct why why = {""};
    struct nft *nft = NULL;
    ck_assert_msg(nft_open(settings, &nft, &why) == 0, "%s", why.text);
    ck_assert_msg(nft_restore(nft, policy, starts_otherwise, denied, &why) == 0, "%s", why.text);
    ck_assert_msg(nft_install(nft, policy, &why) == 0, "%s", why.text);
    return nft;
}

START_TEST(addresses_stay_for_the_rest_of_their_leases)
{
    char denied[2] = "", b[] = "b";
    struct nft *nft = installed(&plain, &deny_all);
    ck_assert_int_eq(learn(nft, "198.51.100.1", A, 300), 0);
    ck_assert_int_eq(learn(nft, "198.51.100.1", B, 0), 0);
    ck_assert_int_eq(learn(nft, "2001:db8::1", A, 0), 0);
    ck_assert_int_eq(learn(nft, "198.51.100.3", B, 300), 0);
    ck_assert_int_eq(nft_apply(nft, &deny_all, starts_otherwise, b, NULL), 0);
    nft_free(nft);
    run("nft 'delete element inet opensandbox dyn_allow_v4 { 198.51.100.1 }; add element inet opensandbox dyn_allow_v4 "
        "{ 198.51.100.1 timeout 259s comment \"a.example\" }'"); /* as if time had passed */
    nft = restarted(&plain, &deny_all, b);
    expect(LIST_ALLOW, "{ 198.51.100.1 timeout 4m1");
    expect(LIST_ALLOW, "comment \"a.example\" }");
    expect(LIST_ALLOW_V6, "2001:db8::1 timeout 5");
    expect(LIST_REVOKED, "198.51.100.3 timeout 9m5");
    /* They are known: an answer prolongs, a denial takes away, a permission lets through again. */
    ck_assert_int_eq(learn(nft, "2001:db8::1", A, 300), 0);
    expect(LIST_ALLOW_V6, "timeout 6m comment \"a.example\" }");
    ck_assert_int_eq(nft_apply(nft, &deny_all, starts_otherwise, strcpy(denied, "a"), NULL), 0);
    expect(LIST_REVOKED, "{ 198.51.100.1 timeout 10m comment \"a.example\" }");
    expect_not(LIST_ALLOW, "198.51.100.1");
    nft_free(nft);
}
END_TEST

START_TEST(what_the_new_policy_denies_is_revoked_at_once)
{
    char a[] = "a";
    struct nft *nft = installed(&plain, &deny_all);
    ck_assert_int_eq(learn(nft, "198.51.100.1", A, 300), 0);
    ck_assert_int_eq(learn(nft, "198.51.100.2", A, 300), 0);
    ck_assert_int_eq(learn(nft, "198.51.100.2", B, 300), 0);
    nft_free(nft);
    nft_free(restarted(&plain, &deny_all, a));
    expect(LIST_ALLOW, "{ 198.51.100.2 timeout");
    expect(LIST_ALLOW, "comment \"b.example\" }");
    expect(LIST_REVOKED, "{ 198.51.100.1 timeout");
}
END_TEST

START_TEST(revoked_addresses_without_a_name_stay_revoked)
{
    char none[] = "";
    nft_free(installed(&plain, &deny_all));
    run("nft 'add element inet opensandbox revoked_v4 { 198.51.100.9 timeout 9m }; "
        "add element inet opensandbox dyn_allow_v4 { 198.51.100.8 timeout 5m }'");
    nft_free(restarted(&plain, &deny_all, none));
    expect(LIST_REVOKED, "{ 198.51.100.9 timeout "); /* nine minutes, or somewhat less */
    expect_not(LIST_ALLOW, "198.51.100.8");          /* while permission needs a name */
    const struct nft_policy open = {.default_allow = true};
    nft_free(restarted(&plain, &open, none));
    expect_not(LIST_REVOKED, "198.51.100.9");
}
END_TEST

START_TEST(many_addresses)
{
    char none[] = "";
    struct nft *nft = installed(&plain, &deny_all);
    static struct learned many[N_MANY];
    for (uint32_t i = 0; i < N_MANY; i++) {
        uint32_t wire = htonl(0x0b000000 + i);
        many[i] = (struct learned){ip_from_v4(&wire), i % 300, (const uint8_t *)A, 11};
    }
    ck_assert_int_eq(nft_learn(nft, many, N_MANY, clock_monotonic_ns()), 0);
    nft_free(nft);
    nft_free(restarted(&plain, &deny_all, none));
    ck_assert_uint_eq(occurrences(output(LIST_ALLOW), "comment"), N_MANY);
    struct nft_settings fewer = plain;
    fewer.max_addresses = 16; /* of a TTL of 299 */
    nft_free(restarted(&fewer, &deny_all, none));
    ck_assert_uint_eq(occurrences(output(LIST_ALLOW), "comment"), 16);
    ck_assert_uint_eq(occurrences(output(LIST_ALLOW), "timeout 5m5"), 16);
}
END_TEST

START_TEST(what_others_left_is_passed_over)
{
    char none[] = "";
    run("nft 'table inet opensandbox { set dyn_allow_v4 { type ipv4_addr; flags timeout; elements = { "
        "198.51.100.1 timeout 1m, 198.51.100.2 comment \"a.example\", 198.51.100.3 timeout 1m comment \"not a name\", "
        "198.51.100.4 timeout 100d comment \"a.example\" }\n }\n"
        "set dyn_allow_v6 { type inet_service; flags timeout; elements = { 80 timeout 1m comment \"a.example\" }\n }\n"
        "set revoked_v4 { type ipv4_addr; flags interval, timeout; elements = { "
        "198.51.100.0/24 timeout 1m comment \"a.example\" }\n }\n }'");
    run("nft 'table inet opensandbox { set upstream_v4 { type ipv4_addr . inet_service; elements = { 192.0.2.1 . 53, "
        "192.0.2.2 . 53 comment \"x\", 192.0.2.3 . 53 comment \"-1\", 192.0.2.4 . 53 comment \"4\", "
        "192.0.2.5 . 0 comment \"5\", 192.0.2.6 . 5353 comment \"2\", 192.0.2.7 . 53 comment \"1000\" }\n }\n"
        "set upstream_v6 { type ipv6_addr; elements = { ::1 comment \"0\" }\n }\n }'");
    struct sock_addr upstreams[16];
    char text[SOCK_ADDR_TEXT_MAX];
    size_t n = 0;
    ck_assert_int_eq(nft_recall_upstreams(upstreams, 16, &n, NULL), 0);
    ck_assert_uint_eq(n, 2);
    ck_assert_str_eq(sock_addr_format(&upstreams[0], text), "192.0.2.6:5353");
    ck_assert_str_eq(sock_addr_format(&upstreams[1], text), "192.0.2.4:53");
    nft_free(restarted(&plain, &deny_all, none));
    expect(LIST_ALLOW, "{ 198.51.100.4 timeout ");
    expect_not(LIST_ALLOW, "99d"); /* a whole lease at most */
    expect_not(LIST_ALLOW_V6, "elements");
    expect_not(LIST_REVOKED, "198.51.100.0/24");
}
END_TEST

START_TEST(upstreams_in_their_order)
{
    static const char *const literals[] = {"192.0.2.9:53",     "[2001:db8::1]:5353", "192.0.2.1:54",
                                           "[2001:db8::1]:53", "192.0.2.1:53",       "127.0.0.1:53"};
    struct sock_addr upstreams[6], back[16];
    struct nft_settings settings = plain;
    char text[SOCK_ADDR_TEXT_MAX];
    size_t n = 7;
    settings.filter = _i;
    settings.upstreams = upstreams;
    settings.n_upstreams = 6;
    for (size_t i = 0; i < 6; i++)
        ck_assert_int_eq(sock_addr_parse(literals[i], 0, &upstreams[i]), 0);
    ck_assert_int_eq(nft_recall_upstreams(back, 16, &n, NULL), 0);
    ck_assert_uint_eq(n, 0);
    nft_free(installed(&settings, &deny_all));
    ck_assert_int_eq(nft_recall_upstreams(back, 16, &n, NULL), 0);
    ck_assert_uint_eq(n, 6);
    for (size_t i = 0; i < 6; i++)
        ck_assert_str_eq(sock_addr_format(&back[i], text), literals[i]);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("nft_restart");
    TCase *tests = tcase_create("restart");
    tcase_add_checked_fixture(tests, enter, NULL);
    tcase_set_timeout(tests, 30);
    tcase_add_test(tests, addresses_stay_for_the_rest_of_their_leases);
    tcase_add_test(tests, what_the_new_policy_denies_is_revoked_at_once);
    tcase_add_test(tests, revoked_addresses_without_a_name_stay_revoked);
    tcase_add_test(tests, many_addresses);
    tcase_add_test(tests, what_others_left_is_passed_over);
    tcase_add_loop_test(tests, upstreams_in_their_order, 0, 2);
    suite_add_tcase(suite, tests);
    return suite;
}
