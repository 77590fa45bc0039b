/* Learned and revoked addresses in the kernel, as nft(8) lists them. Every test has a network namespace of its own. */
#include "base/loop.h"
#include "base/wire.h"
#include "nft_plain.h"
#include "runner.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LIST_ALLOW "nft -s list set inet opensandbox dyn_allow_v4"
#define LIST_REVOKED "nft -s list set inet opensandbox revoked_v4"

/* Names that start with the letter in `ctx` are denied. */
static bool starts_otherwise(void *ctx, const uint8_t *name, size_t len)
{
    return name[1] != *(const char *)ctx;
}

START_TEST(lease_seconds)
{
    ck_assert_uint_eq(nft_lease_seconds(0), 60);
    ck_assert_uint_eq(nft_lease_seconds(30), 90);
    ck_assert_uint_eq(nft_lease_seconds(300), 360);
    ck_assert_uint_eq(nft_lease_seconds(UINT32_MAX), 360);
    ck_assert_uint_ge(nft_hold_seconds(300), 300);
    ck_assert_uint_lt(nft_hold_seconds(UINT32_MAX), 360);
}
END_TEST

START_TEST(a_lease_is_prolonged_never_shortened)
{
    struct nft *nft = installed(&plain, &deny_all);
    ck_assert_int_eq(learn(nft, "198.51.100.7", A, 10), 0);
    expect(LIST_ALLOW, "198.51.100.7 timeout 1m10s comment \"a.example\"");
    ck_assert_int_eq(learn(nft, "198.51.100.7", A, 12), 0); /* too little to be worth it */
    expect(LIST_ALLOW, "timeout 1m10s");
    ck_assert_int_eq(learn(nft, "198.51.100.7", A, 300), 0);
    expect(LIST_ALLOW, "198.51.100.7 timeout 6m comment \"a.example\"");
    ck_assert_int_eq(learn(nft, "198.51.100.7", A, 10), 0);
    expect(LIST_ALLOW, "timeout 6m");
    nft_free(nft);
}
END_TEST

START_TEST(a_comment_holds_all_names)
{
    struct nft *nft = installed(&plain, &deny_all);
    ck_assert_int_eq(learn(nft, "198.51.100.7", A, 300), 0);
    ck_assert_int_eq(learn(nft, "198.51.100.7", B, 300), 0);
    ck_assert_int_eq(learn(nft, "198.51.100.7", "\6q\"u\1o\\", 300), 0);
    expect(LIST_ALLOW, "comment \"a.example,b.example,q\\034u\\001o\\092\"");
    nft_free(nft);
}
END_TEST

/* Whatever their lengths, the kernel takes the comment. */
START_TEST(a_comment_of_any_length_is_taken)
{
    struct nft *nft = installed(&plain, &deny_all);
    for (char len = 1; len <= 63; len++) {
        char addr[IP_TEXT_MAX], name[5 * 64 + 1] = "";
        snprintf(addr, sizeof(addr), "198.51.100.%d", len);
        for (int label = 0; label < 3; label++) /* with its dots 189 octets */
            snprintf(name + strlen(name), sizeof(name) - strlen(name), "%c%062d", 62, label);
        snprintf(name + strlen(name), sizeof(name) - strlen(name), "%c%0*d", len, len, 1);
        if (strlen(name) <= 253)
            ck_assert_int_eq(learn(nft, addr, name, 300), 0);
        ck_assert_int_eq(learn(nft, addr, name + 63, 300), 0);
    }
    nft_free(nft);
}
END_TEST

START_TEST(one_batch_with_everything_in_it)
{
    struct nft *nft = installed(&plain, &deny_all);
    ck_assert_int_eq(learn(nft, "198.51.100.1", A, 0), 0);
    const uint8_t *a = (const uint8_t *)A, *b = (const uint8_t *)B;
    struct learned batch[] = {{ip("198.51.100.1"), 300, a, 11}, {ip("198.51.100.2"), 0, a, 11},
                              {ip("2001:db8::1"), 0, a, 11},    {ip("198.51.100.2"), 300, b, 11},
                              {ip("198.51.100.2"), 30, a, 11},  {ip("2001:db8::1"), 0, a, 11}};
    ck_assert_int_eq(nft_learn(nft, batch, 6, clock_monotonic_ns()), 0);
    expect(LIST_ALLOW, "198.51.100.1 timeout 6m comment \"a.example\"");
    expect(LIST_ALLOW, "198.51.100.2 timeout 6m comment \"a.example,b.example\"");
    expect("nft -s list set inet opensandbox dyn_allow_v6", "2001:db8::1 timeout 1m comment \"a.example\"");
    nft_free(nft);
}
END_TEST

START_TEST(the_soonest_to_end_makes_room)
{
    struct nft_settings settings = plain;
    settings.max_addresses = 3;
    struct nft *nft = installed(&settings, &deny_all);
    ck_assert_int_eq(learn(nft, "198.51.100.1", A, 300), 0);
    ck_assert_int_eq(learn(nft, "198.51.100.2", A, 0), 0);
    ck_assert_int_eq(learn(nft, "198.51.100.3", A, 300), 0);
    ck_assert_uint_eq(metric_get(&counts, METRIC_ADDRESSES_EVICTED), 0);
    ck_assert_int_eq(learn(nft, "198.51.100.4", A, 0), 0);
    ck_assert_uint_eq(metric_get(&counts, METRIC_ADDRESSES_EVICTED), 1);
    expect_not(LIST_ALLOW, "198.51.100.2");
    expect(LIST_ALLOW, "198.51.100.4");
    ck_assert_uint_eq(occurrences(output(LIST_ALLOW), "timeout "), 3);
    /* More in one batch than there is room for in all. */
    struct learned four[4];
    for (size_t i = 0; i < 4; i++)
        four[i] = (struct learned){ip("203.0.113.1"), 0, (const uint8_t *)A, 11};
    for (uint8_t i = 0; i < 4; i++)
        four[i].addr.bytes[3] = i;
    ck_assert_int_eq(nft_learn(nft, four, 4, clock_monotonic_ns()), -ENOSPC);
    ck_assert_uint_eq(occurrences(output(LIST_ALLOW), "198.51.100."), 3);
    ck_assert_int_eq(nft_learn(nft, four, 3, clock_monotonic_ns()), 0);
    ck_assert_uint_eq(occurrences(output(LIST_ALLOW), "203.0.113."), 3);
    ck_assert_uint_eq(metric_get(&counts, METRIC_ADDRESSES_EVICTED), 4);
    nft_free(nft);
}
END_TEST

/* Far more make room than the set has room beside: what comes back by chance is deleted all the same, as far as it is
 * remembered, and the table is not put in place anew. */
START_TEST(many_that_make_room_are_no_error)
{
    enum { MOST = 1000, ROUNDS = 30 };
    struct nft_settings settings = plain;
    static struct learned batch[MOST];
    settings.max_addresses = MOST;
    struct nft *nft = installed(&settings, &deny_all);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        for (uint32_t i = 0; i < MOST; i++) {
            batch[i] = (struct learned){ip("10.0.0.0"), 300, (const uint8_t *)A, 11};
            wire_store32(batch[i].addr.bytes, 10u << 24 | (round * MOST + i));
        }
        ck_assert_int_eq(nft_learn(nft, batch, MOST, clock_monotonic_ns()), 0);
    }
    ck_assert_uint_eq(metric_get(&counts, METRIC_ADDRESSES_EVICTED), (ROUNDS - 1) * MOST);
    run("nft add element inet opensandbox dyn_allow_v4 { 10.0.0.1 timeout 5m }");
    uint64_t errors = metric_get(&counts, METRIC_NFT_ERRORS);
    for (int look = 0; look < 3; look++) {
        bool repaired;
        struct why why;
        ck_assert_msg(nft_keep(nft, &repaired, &why) == 0 && !repaired, "%s", why.text);
    }
    ck_assert_uint_eq(metric_get(&counts, METRIC_NFT_ERRORS), errors);
    expect_not(LIST_ALLOW, " 10.0.0.1 ");
    nft_free(nft);
}
END_TEST

/* The kernel's element ends at once, the lease by a later `now`, which is the caller's. */
static void end(const char *addr)
{
    run("nft 'delete element inet opensandbox dyn_allow_v4 { %s }; "
        "add element inet opensandbox dyn_allow_v4 { %s timeout 10ms }'",
        addr, addr);
    while (strstr(output(LIST_ALLOW), addr))
        usleep(1000);
}

START_TEST(leases_that_end)
{
    struct nft_settings settings = plain;
    settings.max_addresses = 2;
    struct nft *nft = installed(&settings, &deny_all);
    uint64_t now = clock_monotonic_ns();
    struct learned old = {ip("198.51.100.1"), 0, (const uint8_t *)A, 11};
    struct learned lasting = {ip("198.51.100.2"), 300, (const uint8_t *)A, 11};
    struct learned new = {ip("198.51.100.3"), 300, (const uint8_t *)A, 11};
    ck_assert_int_eq(nft_learn(nft, &old, 1, now), 0);
    ck_assert_int_eq(nft_learn(nft, &lasting, 1, now), 0);
    end("198.51.100.1");
    ck_assert_int_eq(nft_learn(nft, &new, 1, now + 62 * NS_PER_S), 0);
    ck_assert_uint_eq(metric_get(&counts, METRIC_ADDRESSES_EVICTED), 0); /* there was room again */
    expect(LIST_ALLOW, "198.51.100.2");
    expect(LIST_ALLOW, "198.51.100.3");
    end("198.51.100.3");
    ck_assert_int_eq(nft_learn(nft, &new, 1, now + 500 * NS_PER_S), 0); /* whether or not it was collected */
    expect(LIST_ALLOW, "198.51.100.3 timeout 6m comment \"a.example\"");
    nft_free(nft);
}
END_TEST

START_TEST(names_that_lost_permission)
{
    struct nft *nft = installed(&plain, &deny_all);
    char denied = 'a';
    ck_assert_int_eq(learn(nft, "198.51.100.1", A, 300), 0);
    ck_assert_int_eq(learn(nft, "198.51.100.2", A, 300), 0);
    ck_assert_int_eq(learn(nft, "198.51.100.2", B, 0), 0);
    ck_assert_int_eq(learn(nft, "198.51.100.3", A, 300), 0);
    struct nft_policy policy = {.allow = ranges("198.51.100.3", NULL)};
    ck_assert_int_eq(nft_apply(nft, &policy, starts_otherwise, &denied, NULL), 0);
    expect_not(LIST_ALLOW, "198.51.100.1");
    expect_not(LIST_ALLOW, "timeout 6m"); /* but what B gave it */
    expect(LIST_ALLOW, "comment \"b.example\"");
    expect_not(LIST_ALLOW, "198.51.100.3");
    expect(LIST_REVOKED, "{ 198.51.100.1 timeout 10m comment \"a.example\" }");

    ck_assert_int_eq(learn(nft, "198.51.100.1", B, 300), 0);
    expect(LIST_ALLOW, "198.51.100.1 timeout 6m comment \"b.example\"");
    expect_not(LIST_REVOKED, "198.51.100.1");

    denied = 'b';
    ck_assert_int_eq(nft_apply(nft, &policy, starts_otherwise, &denied, NULL), 0);
    expect(LIST_REVOKED, "198.51.100.1");
    expect(LIST_REVOKED, "198.51.100.2");
    struct nft_policy address = {.always_allow = ranges("198.51.100.1", NULL)};
    ck_assert_int_eq(nft_apply(nft, &address, starts_otherwise, &denied, NULL), 0);
    expect_not(LIST_REVOKED, "198.51.100.1");
    expect(LIST_REVOKED, "198.51.100.2");
    ck_assert_int_eq(nft_apply(nft, &address, everything, NULL, NULL), 0);
    expect_not(LIST_REVOKED, "198.51.100.2");
    nft_free(nft);
}
END_TEST

START_TEST(a_change_that_is_taken_back_has_taken_nothing)
{
    char denied = 'a';
    struct nft *nft = installed(&plain, &deny_all);
    ck_assert_int_eq(learn(nft, "198.51.100.1", A, 300), 0);
    ck_assert_int_eq(learn(nft, "198.51.100.2", A, 0), 0);
    ck_assert_int_eq(learn(nft, "198.51.100.2", B, 300), 0);
    struct nft_policy none = {.deny = ranges("192.0.2.1", NULL)};
    ck_assert_int_eq(nft_apply(nft, &none, nothing, NULL, NULL), 0);
    expect_not(LIST_ALLOW, "198.51.100");
    ck_assert_int_eq(nft_apply(nft, &deny_all, starts_otherwise, &denied, NULL), 0);
    expect_not(LIST_ALLOW, "198.51.100.1"); /* its only name is still denied */
    expect(LIST_ALLOW, "198.51.100.2");
    ck_assert_int_eq(nft_apply(nft, &deny_all, everything, NULL, NULL), 0);
    expect(LIST_ALLOW, "198.51.100.1");
    expect(LIST_ALLOW, "comment \"a.example\"");
    expect_not(LIST_REVOKED, "198.51.100");
    nft_free(nft);
}
END_TEST

START_TEST(what_the_kernel_refuses_changes_nothing)
{
    struct why why = {""};
    char denied = 'a';
    struct nft *nft = installed(&plain, &deny_all);
    ck_assert_int_eq(learn(nft, "198.51.100.1", A, 0), 0);
    run("nft delete table inet opensandbox");
    ck_assert_int_eq(learn(nft, "198.51.100.1", A, 300), -ENOENT);
    ck_assert_int_eq(learn(nft, "198.51.100.2", A, 300), -ENOENT);
    struct nft_policy policy = {.allow = ranges("192.0.2.0/24", NULL)};
    ck_assert_int_eq(nft_apply(nft, &policy, starts_otherwise, &denied, &why), -ENOENT);
    ck_assert_ptr_nonnull(strstr(why.text, "No such file or directory"));
    ck_assert_int_lt(nft_apply(nft, &deny_all, everything, NULL, NULL), 0);
    ck_assert_str_eq(output("nft list tables inet"), "");
    /* Putting the table in place again shows what the mirror holds: the old lease with what is left of it. */
    ck_assert_int_eq(nft_install(nft, &deny_all, &why), 0);
    expect(LIST_ALLOW, "{ 198.51.100.1 timeout 59s");
    expect(LIST_ALLOW, "comment \"a.example\" }");
    expect_not(LIST_REVOKED, "198.51.100");
    ck_assert_int_eq(nft_apply(nft, &policy, everything, &denied, NULL), 0);
    expect("nft list set inet opensandbox allow_v4", "192.0.2.0/24");
    nft_free(nft);
}
END_TEST

START_TEST(a_set_that_someone_filled)
{
    struct nft_settings settings = plain;
    settings.max_addresses = 2;
    struct nft *nft = installed(&settings, &deny_all);
    ck_assert_int_eq(learn(nft, "198.51.100.1", A, 300), 0);
    run("seq -f '203.0.%%.0f' 0 40 | while read net; do seq -f \"add element inet opensandbox dyn_allow_v4 "
        "{ $net.%%.0f timeout 1h }\" 0 255; done | head -n 8193 | nft -f -");
    ck_assert_int_eq(learn(nft, "198.51.100.2", A, 300), 0);
    expect(LIST_ALLOW, "198.51.100.1");
    expect(LIST_ALLOW, "198.51.100.2");
    expect_not(LIST_ALLOW, "203.0.113.1");
    nft_free(nft);
}
END_TEST

START_TEST(an_element_that_someone_deleted)
{
    struct nft *nft = installed(&plain, &deny_all);
    ck_assert_int_eq(learn(nft, "198.51.100.1", A, 0), 0);
    run("nft delete element inet opensandbox dyn_allow_v4 '{ 198.51.100.1 }'");
    ck_assert_int_eq(learn(nft, "198.51.100.1", A, 300), 0);
    expect(LIST_ALLOW, "198.51.100.1 timeout 6m");
    nft_free(nft);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("nft_learn");
    TCase *tests = tcase_create("learned addresses");
    tcase_add_checked_fixture(tests, enter, NULL);
    tcase_set_timeout(tests, 30);
    tcase_add_test(tests, lease_seconds);
    tcase_add_test(tests, a_lease_is_prolonged_never_shortened);
    tcase_add_test(tests, a_comment_holds_all_names);
    tcase_add_test(tests, a_comment_of_any_length_is_taken);
    tcase_add_test(tests, one_batch_with_everything_in_it);
    tcase_add_test(tests, the_soonest_to_end_makes_room);
    tcase_add_test(tests, many_that_make_room_are_no_error);
    tcase_add_test(tests, leases_that_end);
    tcase_add_test(tests, names_that_lost_permission);
    tcase_add_test(tests, a_change_that_is_taken_back_has_taken_nothing);
    tcase_add_test(tests, a_change_that_is_taken_back_has_taken_nothing);
    tcase_add_test(tests, what_the_kernel_refuses_changes_nothing);
    tcase_add_test(tests, a_set_that_someone_filled);
    tcase_add_test(tests, an_element_that_someone_deleted);
    suite_add_tcase(suite, tests);
    return suite;
}
