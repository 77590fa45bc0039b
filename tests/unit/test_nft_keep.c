/* What somebody else does to the table is noticed, told and mended; what they do elsewhere is theirs. */
#include "base/loop.h"
#include "nft_fixture.h"
#include "runner.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define A "\1a\7example"
#define TABLE "inet opensandbox"
#define LIST "nft -s list ruleset"
#define N_MANY 20000

static struct metrics counts;
static struct sock_addr upstream;
static const struct nft_settings plain = {
    .filter = true, .dns_port = DNS_PORT, .mark = MARK, .metrics = &counts, .max_addresses = N_MANY};

static struct nft_settings settings;

static void enter(void)
{
    close(netns_enter_new());
    settings = plain;
    sock_addr_parse("192.0.2.53", 53, &upstream);
    settings.upstreams = &upstream;
    settings.n_upstreams = 1;
    settings.block_doh_443 = true;
    settings.doh_blocklist = ranges("192.0.2.80", NULL);
}

static struct nft *with_everything(const struct nft_policy *policy)
{
    struct nft *nft = installed(&settings, policy);
    ck_assert_int_eq(learn(nft, "198.51.100.1", A, 300), 0);
    ck_assert_int_eq(learn(nft, "198.51.100.2", A, 300), 0);
    ck_assert_int_eq(learn(nft, "2001:db8::1", A, 300), 0);
    return nft;
}

static bool kept(struct nft *nft, struct why *why)
{
    bool repaired = true;
    *why = (struct why){""};
    ck_assert_msg(nft_keep(nft, &repaired, why) == 0, "%s", why->text);
    return !repaired;
}

static const struct {
    const char *harm, *told;
} harms[] = {
    {"flush ruleset", "the table deleted"},
    {"delete table " TABLE, "the table deleted"},
    {"delete table " TABLE "; add table " TABLE "; add chain " TABLE " egress { type filter hook output priority 0; }",
     "the table deleted"},
    {"add table " TABLE " { flags dormant; }", "the table changed"},
    {"flush chain " TABLE " egress; delete chain " TABLE " egress", "chain egress deleted"},
    {"flush chain " TABLE " dns; delete chain " TABLE " dns", "chain dns deleted"},
    {"flush chain " TABLE " own; delete chain " TABLE " own", "chain own deleted"},
    {"flush table " TABLE "; delete chain " TABLE " refuse", "chain refuse deleted"},
    {"flush chain " TABLE " egress; flush chain " TABLE " link; delete chain " TABLE " link", "chain link deleted"},
    {"flush chain " TABLE " egress", "a rule of chain egress deleted"},
    {"flush chain " TABLE " loopback", "a rule of chain loopback deleted"},
    {"flush chain " TABLE " link", "a rule of chain link deleted"},
    {"flush chain " TABLE " refuse", "a rule of chain refuse deleted"},
    {"flush chain " TABLE " fallback", "a rule of chain fallback deleted"},
    {"insert rule " TABLE " egress accept", "a rule of chain egress added"},
    {"insert rule " TABLE " dns udp dport 53 accept", "a rule of chain dns added"},
    {"add chain " TABLE " other { type filter hook output priority -5; }", "chain other added"},
    {"add chain " TABLE " egress { policy accept; }", "chain egress changed"},
    {"add set " TABLE " other { type ipv4_addr; }", "set other added"},
    {"flush set " TABLE " deny_v4", "elements of set deny_v4 deleted"},
    {"flush set " TABLE " doh_block_v4", "elements of set doh_block_v4 deleted"},
    {"delete element " TABLE " allow_v6 { 2001:db8:2::/64 }", "elements of set allow_v6 deleted"},
    {"delete element " TABLE " always_deny_v4 { 10.1.0.0/16 }", "elements of set always_deny_v4 deleted"},
    {"add element " TABLE " allow_v4 { 203.0.113.7 }", "elements of set allow_v4 added"},
    {"delete element " TABLE " allow_v4 { 255.255.255.255 }; add element " TABLE
     " allow_v4 { 255.255.255.254-255.255.255.255 }",
     "255.255.255.254 of set allow_v4 added"},
    {"add element " TABLE " always_allow_v6 { ::/0 }", ":: of set always_allow_v6 added"},
    {"flush set " TABLE " dyn_allow_v4", " of set dyn_allow_v4 deleted"},
    {"delete element " TABLE " dyn_allow_v6 { 2001:db8::1 }", "2001:db8::1 of set dyn_allow_v6 deleted"},
    {"add element " TABLE " dyn_allow_v4 { 203.0.113.7 }", "203.0.113.7 of set dyn_allow_v4 added"},
    {"delete element " TABLE " dyn_allow_v4 { 198.51.100.1 }; add element " TABLE
     " dyn_allow_v4 { 198.51.100.1 timeout 10d }",
     "198.51.100.1 of set dyn_allow_v4 changed"},
    {"add element " TABLE " revoked_v4 { 198.51.100.1 }", "198.51.100.1 of set revoked_v4 added"},
    {"flush set " TABLE " upstream_v4", "an element of set upstream_v4 deleted"},
    {"add element " TABLE " upstream_v4 { 198.51.100.53 . 53 comment \"1\" }", "an element of set upstream_v4 added"},
};

START_TEST(harm_is_told_and_mended)
{
    struct nft_policy policy = {.always_deny = ranges("10.1.0.0/16", NULL),
                                .deny = ranges("10.2.0.0/16", NULL),
                                .allow = ranges("10.3.0.0/16", "255.255.255.255", "2001:db8:2::/64", NULL)};
    struct nft *nft = with_everything(&policy);
    struct why why;
    char *before = strdup(output(LIST));
    uint64_t repairs = metric_get(&counts, METRIC_NFT_REPAIRS);
    ck_assert(kept(nft, &why));
    run("nft '%s'", harms[_i].harm);
    ck_assert_str_ne(output(LIST), before);
    ck_assert_msg(!kept(nft, &why), "%s: not noticed", harms[_i].harm);
    ck_assert_msg(strstr(why.text, harms[_i].told) != NULL, "%s: told as %s", harms[_i].harm, why.text);
    ck_assert_uint_eq(metric_get(&counts, METRIC_NFT_REPAIRS), repairs + 1);
    for (int i = 0; i < 3; i++)
        ck_assert(kept(nft, &why));
    const char *after = output(LIST);
    ck_assert_msg(occurrences(after, "elements = {") == occurrences(before, "elements = {") &&
                      occurrences(after, "\n") == occurrences(before, "\n"),
                  "before:\n%s\nafter:\n%s", before, after);
    free(before);
    nft_free(nft);
}
END_TEST

static bool all_but_the_second(void *ctx, const uint8_t *name, size_t len)
{
    return name[1] != 'b';
}

/* Also after what we ourselves change. */
START_TEST(what_others_do_elsewhere_is_theirs)
{
    static const char *const elsewhere[] = {
        "add table inet other; add chain inet other egress { type filter hook output priority 0; policy accept; }",
        "add table ip opensandbox; add chain ip opensandbox egress { type filter hook output priority 0; policy "
        "accept; }",
        "add rule inet other egress accept", "delete table inet other", "delete table ip opensandbox"};
    const struct nft_policy first = {.deny = ranges("10.2.0.0/16", NULL)};
    const struct nft_policy open = {.default_allow = true, .deny = ranges("10.2.0.0/16", "10.4.0.0/16", NULL)};
    struct nft *nft = with_everything(&first);
    struct why why;
    for (size_t i = 0; i < sizeof(elsewhere) / sizeof(elsewhere[0]); i++) {
        run("nft '%s'", elsewhere[i]);
        uint64_t handle = strtoull(strstr(output("nft -a list table " TABLE), "# handle ") + 9, NULL, 10);
        ck_assert_msg(kept(nft, &why), "%s: %s", elsewhere[i], why.text);
        const char *now = output("nft -a list table " TABLE);
        ck_assert_uint_eq(strtoull(strstr(now, "# handle ") + 9, NULL, 10), handle); /* nor was it made anew */
        if (i == 0)
            ck_assert_int_eq(nft_apply(nft, &open, all_but_the_second, NULL, &why), 0);
    }
    nft_free(nft);
}
END_TEST

START_TEST(what_packets_and_time_do_is_no_harm)
{
    const struct nft_policy deny_all = {0};
    struct nft *nft = with_everything(&deny_all);
    struct why why;
    ck_assert_int_eq(learn(nft, "198.51.100.3", "\1b\7example", 300), 0);
    ck_assert_int_eq(nft_apply(nft, &deny_all, all_but_the_second, NULL, &why), 0);
    /* A packet that was between looking it up and prolonging it puts it back. */
    run("nft 'add element " TABLE " dyn_allow_v4 { 198.51.100.3 timeout 6m }'");
    for (int i = 0; i < 3; i++)
        ck_assert_msg(kept(nft, &why), "%s", why.text);
    expect_not("nft list set " TABLE " dyn_allow_v4", "198.51.100.3"); /* and is deleted once more */
    /* One prolongs a lease. */
    run("nft 'delete element " TABLE " dyn_allow_v4 { 198.51.100.1 }; add element " TABLE
        " dyn_allow_v4 { 198.51.100.1 timeout 6m }'");
    ck_assert_msg(kept(nft, &why), "%s", why.text);
    nft_free(nft);
}
END_TEST

START_TEST(too_many_to_compare_are_put_in_place_anew)
{
    const struct nft_policy deny_all = {0};
    static struct learned many[N_MANY];
    struct nft *nft = installed(&settings, &deny_all);
    struct why why;
    for (uint32_t i = 0; i < 2 * N_MANY; i++) {
        uint8_t v6[16] = {0x20, 1, 13, 184, [13] = (uint8_t)(i >> 16), [14] = (uint8_t)(i >> 8), [15] = (uint8_t)i};
        uint32_t v4 = htonl(0x0b000000 + i);
        many[i % N_MANY] = (struct learned){i < N_MANY ? ip_from_v4(&v4) : ip_from_v6(v6), 300, (const uint8_t *)A, 11};
        if (i % N_MANY == N_MANY - 1)
            ck_assert_int_eq(nft_learn(nft, many, N_MANY, clock_monotonic_ns()), 0);
    }
    run("nft 'add element " TABLE " dyn_allow_v4 { 203.0.113.7 }'");
    ck_assert(kept(nft, &why));
    const char *list = output("nft list set " TABLE " dyn_allow_v4");
    ck_assert_uint_eq(occurrences(list, "comment"), N_MANY);
    ck_assert_uint_eq(occurrences(list, "203.0.113.7"), 0);
    nft_free(nft);
}
END_TEST

START_TEST(in_dns_mode_too)
{
    const struct nft_policy deny_all = {0};
    struct why why;
    settings.filter = false;
    struct nft *nft = installed(&settings, &deny_all);
    ck_assert(kept(nft, &why));
    run("nft 'flush chain " TABLE " dns'");
    ck_assert(!kept(nft, &why));
    ck_assert_str_eq(why.text, "a rule of chain dns deleted");
    run("nft 'add table inet other'");
    ck_assert(kept(nft, &why));
    expect("nft list chain " TABLE " dns", "redirect to :15353");
    nft_free(nft);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("nft_keep");
    TCase *tests = tcase_create("keep");
    tcase_add_checked_fixture(tests, enter, NULL);
    tcase_set_timeout(tests, 30);
    tcase_add_loop_test(tests, harm_is_told_and_mended, 0, sizeof(harms) / sizeof(harms[0]));
    tcase_add_test(tests, what_others_do_elsewhere_is_theirs);
    tcase_add_test(tests, what_packets_and_time_do_is_no_harm);
    tcase_add_test(tests, too_many_to_compare_are_put_in_place_anew);
    tcase_add_test(tests, in_dns_mode_too);
    suite_add_tcase(suite, tests);
    return suite;
}
