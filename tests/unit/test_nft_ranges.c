/* The sets of a policy's ranges change by what is different, and hold what the policy says afterwards. */
#include "base/ip_ranges.h"
#include "nft_fixture.h"
#include "random.h"
#include "runner.h"

#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROUNDS 100
#define RANGES_MAX 24

static struct metrics counts;
static const struct nft_settings plain = {
    .filter = true, .dns_port = DNS_PORT, .mark = MARK, .metrics = &counts, .max_addresses = 1000};

static void enter(void)
{
    close(netns_enter_new());
}

static bool nothing(void *ctx, const uint8_t *name, size_t len)
{
    return false;
}

/* Narrow spaces at both ends of both families, so that ranges meet, nest and reach the top. */
static struct ip_prefix random_prefix(struct random *random)
{
    uint8_t bytes[16] = {0};
    memset(bytes, random_below(random, 2) ? 0xff : 0, sizeof(bytes));
    bool v4 = random_below(random, 2);
    uint8_t *last = &bytes[v4 ? 3 : 15];
    *last = (uint8_t)((*last & 0xc0) | random_below(random, 64));
    struct ip_addr addr = v4 ? ip_from_v4(bytes) : ip_from_v6(bytes);
    struct ip_prefix prefix;
    char text[IP_TEXT_MAX + 4], literal[IP_TEXT_MAX];
    snprintf(text, sizeof(text), "%s/%u", ip_format(&addr, literal), (v4 ? 32 : 128) - random_below(random, 4));
    ck_assert_int_eq(ip_prefix_parse(text, &prefix), 0);
    return prefix;
}

/* Mostly the one before, with a few prefixes changed. */
static struct ip_ranges next_ranges(struct random *random, struct ip_prefix prefixes[RANGES_MAX], size_t *n)
{
    struct ip_ranges ranges;
    if (random_below(random, 10) == 0)
        *n = 0;
    for (unsigned changes = random_below(random, 5); changes > 0; changes--) {
        if (*n && random_below(random, 2)) {
            size_t gone = random_below(random, (unsigned)*n);
            prefixes[gone] = prefixes[--*n];
        } else if (*n < RANGES_MAX) {
            prefixes[(*n)++] = random_prefix(random);
        }
    }
    ck_assert_int_eq(ip_ranges_build(prefixes, *n, &ranges), 0);
    return ranges;
}

static void append(char *text, size_t size, const struct ip_range *range)
{
    char first[IP_TEXT_MAX], last[IP_TEXT_MAX];
    size_t len = strlen(text);
    if (ip_equal(&range->first, &range->last))
        snprintf(text + len, size - len, "%s,", ip_format(&range->first, first));
    else
        snprintf(text + len, size - len, "%s-%s,", ip_format(&range->first, first), ip_format(&range->last, last));
}

/* What nft lists, without its blanks; prefixes as ranges. */
static void listed(const char *set, char *ret, size_t size)
{
    const char *text = output("nft list set inet opensandbox %s", set), *at = strstr(text, "elements = {");
    *ret = '\0';
    if (!at)
        return;
    char words[4096];
    size_t n = 0;
    for (at += strlen("elements = {"); *at != '}'; at++)
        if (*at != ' ' && *at != '\n' && *at != '\t')
            words[n++] = *at;
    words[n] = '\0';
    char *rest = words;
    for (char *word; (word = strsep(&rest, ","));) {
        char *dash = strchr(word, '-');
        struct ip_prefix prefix;
        struct ip_range range;
        if (dash) {
            *dash = '\0';
            range = (struct ip_range){ip(word), ip(dash + 1)};
        } else {
            ck_assert_int_eq(ip_prefix_parse(word, &prefix), 0);
            range = ip_prefix_range(&prefix);
        }
        append(ret, size, &range);
    }
}

static void check_set(const char *set, const struct ip_range *ranges, size_t n, const struct random *random, int round)
{
    static char expected[1 << 14], got[1 << 14];
    expected[0] = '\0';
    for (size_t i = 0; i < n; i++)
        append(expected, sizeof(expected), &ranges[i]);
    listed(set, got, sizeof(got));
    ck_assert_msg(strcmp(got, expected) == 0, "TEST_SEED=%" PRIu64 " round %d, %s: %s instead of %s", random->seed,
                  round, set, got, expected);
}

START_TEST(any_policy_follows_any_other)
{
    struct random random = random_new();
    struct ip_prefix allow[RANGES_MAX], deny[RANGES_MAX];
    size_t n_allow = 0, n_deny = 0;
    const struct nft_policy deny_all = {0};
    struct nft *nft = installed(&plain, &deny_all);
    for (int round = 0; round < ROUNDS; round++) {
        struct why why = {""};
        bool repaired = true;
        struct nft_policy policy = {.default_allow = random_below(&random, 2),
                                    .allow = next_ranges(&random, allow, &n_allow),
                                    .deny = next_ranges(&random, deny, &n_deny)};
        ck_assert_msg(nft_apply(nft, &policy, nothing, NULL, &why) == 0, "TEST_SEED=%" PRIu64 " round %d: %s",
                      random.seed, round, why.text);
        check_set("allow_v4", policy.allow.v4, policy.allow.n_v4, &random, round);
        check_set("allow_v6", policy.allow.v6, policy.allow.n_v6, &random, round);
        check_set("deny_v4", policy.deny.v4, policy.deny.n_v4, &random, round);
        run("nft 'add table ip other; delete table ip other'"); /* so that all of it is looked at */
        ck_assert_int_eq(nft_keep(nft, &repaired, &why), 0);
        ck_assert_msg(!repaired, "TEST_SEED=%" PRIu64 " round %d: %s", random.seed, round, why.text);
        ip_ranges_done(&policy.allow);
        ip_ranges_done(&policy.deny);
    }
    nft_free(nft);
}
END_TEST

/* The kernel's messages tell what a transaction was. */
START_TEST(what_stays_is_not_touched)
{
    const struct nft_policy first = {.allow = ranges("10.1.0.0/16", "10.3.0.0/16", "10.5.0.0/16", "10.7.0.0/16", NULL)};
    const struct nft_policy second = {.allow =
                                          ranges("10.1.0.0/16", "10.9.0.0/16", "10.5.0.0/16", "10.7.0.0/16", NULL)};
    struct nft *nft = installed(&plain, &first);
    FILE *monitor = popen("echo $$; exec nft monitor", "re");
    ck_assert_ptr_nonnull(monitor);
    char line[256], seen[1024] = "";
    ck_assert_ptr_nonnull(fgets(line, sizeof(line), monitor));
    pid_t pid = (pid_t)strtol(line, NULL, 10);
    bool listens = false;
    while (!listens) { /* it says nothing when it begins to */
        run("nft 'add table ip other; delete table ip other'");
        struct pollfd poller = {.fd = fileno(monitor), .events = POLLIN};
        listens = poll(&poller, 1, 50) == 1;
    }
    ck_assert_int_eq(nft_apply(nft, &second, nothing, NULL, NULL), 0);
    run("nft 'add table ip last'");
    while (fgets(line, sizeof(line), monitor) && !strstr(line, "last"))
        if (strstr(line, "element"))
            strcat(seen, line);
    kill(pid, SIGTERM);
    pclose(monitor);
    ck_assert_str_eq(seen, "delete element inet opensandbox allow_v4 { 10.3.0.0/16 }\n"
                           "add element inet opensandbox allow_v4 { 10.9.0.0/16 }\n");
    nft_free(nft);
}
END_TEST

START_TEST(sets_that_others_changed_are_replaced_whole)
{
    const struct nft_policy first = {.allow = ranges("10.1.0.0/16", "10.3.0.0/16", "10.5.0.0/16", NULL)};
    const struct nft_policy second = {.allow = ranges("10.1.0.0/16", "10.9.0.0/16", "10.5.0.0/16", NULL)};
    static const char *const harms[] = {"flush set inet opensandbox allow_v4",
                                        "add element inet opensandbox allow_v4 { 10.9.7.0/24 }"};
    struct nft *nft = installed(&plain, &first);
    struct why why = {""};
    run("nft '%s'", harms[_i]);
    ck_assert_msg(nft_apply(nft, &second, nothing, NULL, &why) == 0, "%s", why.text);
    expect("nft list set inet opensandbox allow_v4",
           "elements = { 10.1.0.0/16, 10.5.0.0/16,\n\t\t\t     10.9.0.0/16 }");
    nft_free(nft);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("nft_ranges");
    TCase *tests = tcase_create("ranges");
    tcase_add_checked_fixture(tests, enter, NULL);
    tcase_set_timeout(tests, 100);
    tcase_add_test(tests, any_policy_follows_any_other);
    tcase_add_test(tests, what_stays_is_not_touched);
    tcase_add_loop_test(tests, sets_that_others_changed_are_replaced_whole, 0, 2);
    suite_add_tcase(suite, tests);
    return suite;
}
