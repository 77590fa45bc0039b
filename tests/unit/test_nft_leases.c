/* The mirror of learned addresses and their names, without a kernel. */
#include "nft/elements.h"
#include "nft/leases.h"
#include "random.h"
#include "runner.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#define N_ADDRESSES 3000

static struct ip_addr address(uint32_t i)
{
    uint32_t wire = htonl(0x0a000000 + i * 257);
    return ip_from_v4(&wire);
}

/* A long random history, compared with an array that knows for each address until when it holds. */
START_TEST(agrees_with_an_array)
{
    static uint64_t expires[N_ADDRESSES]; /* 0: not there */
    struct leases *leases;
    size_t count = 0;
    struct random random = random_new();
    printf("# TEST_SEED=%#jx\n", (uintmax_t)random.seed);
    ck_assert_int_eq(leases_new(12345, &leases), 0);
    for (int step = 0; step < 100000; step++) {
        uint32_t i = random_below(&random, N_ADDRESSES);
        uint64_t until = 1 + random_below(&random, 1000);
        struct ip_addr addr = address(i);
        struct lease *lease = leases_find(leases, &addr);
        ck_assert(!lease == !expires[i]);
        if (!lease) {
            ck_assert_int_eq(leases_insert(leases, &addr, &lease), 0);
            ck_assert(lease_is_held(lease));
            leases_release(leases, lease, until);
            expires[i] = until;
            count++;
        } else if (step % 3) {
            ck_assert_uint_eq(lease->expires_ns, expires[i]);
            leases_hold(leases, lease);
            leases_release(leases, lease, until);
            expires[i] = until;
        } else {
            leases_remove(leases, lease);
            expires[i] = 0;
            count--;
        }
        ck_assert_uint_eq(leases_count(leases), count);
    }
    size_t cursor = 0, seen = 0;
    while (leases_next(leases, &cursor))
        seen++;
    ck_assert_uint_eq(seen, count);
    uint64_t before = 0;
    for (struct lease *lease; (lease = leases_soonest(leases)); before = lease->expires_ns) {
        ck_assert_uint_ge(lease->expires_ns, before);
        leases_hold(leases, lease);
    }
    leases_free(leases);
}
END_TEST

static bool is_not_in(void *ctx, const uint8_t *name, size_t len)
{
    return !memchr(ctx, name[1], strlen(ctx));
}

static size_t add(struct names *names, const char *wire, uint64_t expires)
{
    int added = names_add(names, (const uint8_t *)wire, strlen(wire) + 1, expires);
    ck_assert_int_ge(added, 0);
    return (size_t)added;
}

START_TEST(names_lose_permission)
{
    struct names names = {0};
    bool any;
    char text[COMMENT_MAX + 1], denied[] = "a";
    ck_assert_uint_eq(add(&names, "\1a", 300), 1);
    ck_assert_uint_eq(add(&names, "\1b", 100), 1);
    ck_assert_uint_eq(add(&names, "\1c", 200), 1);
    ck_assert_uint_eq(add(&names, "\1b", 50), 0);
    ck_assert_uint_eq(names_mark_denied(&names, 10, is_not_in, denied, &any), 200);
    ck_assert(any);
    names_text(&names, text, sizeof(text));
    ck_assert_str_eq(text, "b,c");
    ck_assert_uint_eq(names_mark_denied(&names, 200, is_not_in, denied, &any), 0);
    ck_assert_uint_eq(names_mark_denied(&names, 10, is_not_in, strcpy(denied, "x"), &any), 300);
    ck_assert(!any);
    names_mark_denied(&names, 10, is_not_in, strcpy(denied, "c"), &any);
    names_drop_denied(&names);
    names_text(&names, text, sizeof(text));
    ck_assert_str_eq(text, "a,b");
    names_drop_ended(&names, 100);
    names_text(&names, text, sizeof(text));
    ck_assert_str_eq(text, "a");
    names_done(&names);
}
END_TEST

/* 251 octets of text, in 253 of wire. */
#define LONG_WIRE 253

static void long_name(uint8_t wire[LONG_WIRE], char letter)
{
    static const uint8_t labels[] = {63, 63, 63, 59};
    size_t at = 0;
    for (size_t i = 0; i < 4; i++) {
        wire[at] = labels[i];
        memset(wire + at + 1, letter, labels[i]);
        at += 1u + labels[i];
    }
    wire[at] = 0;
    ck_assert_uint_eq(at, LONG_WIRE - 1);
}

START_TEST(names_are_bounded)
{
    struct names names = {0};
    uint8_t wire[LONG_WIRE];
    char text[COMMENT_MAX + 1];
    for (char letter = 'z'; letter >= 'a'; letter--) {
        long_name(wire, letter);
        ck_assert_int_eq(names_add(&names, wire, sizeof(wire), 1000 + (uint64_t)letter), 1);
        ck_assert_uint_le(names.len, NAMES_MAX_BYTES);
    }
    names_text(&names, text, sizeof(text));
    ck_assert_uint_eq(strlen(text), COMMENT_MAX);
    for (int i = 0; i < 100; i++) {
        char name[] = {3, (char)('0' + i / 10), (char)('0' + i % 10), '!', 0};
        add(&names, name, 2000 + (uint64_t)i);
        ck_assert_uint_le(names.len, NAMES_MAX_BYTES);
    }
    names_text(&names, text, sizeof(text));
    ck_assert_ptr_nonnull(strstr(text, ",99\\033")); /* those that end last are kept */
    ck_assert_ptr_null(strstr(text, "aaa"));
    ck_assert_uint_le(strlen(text), COMMENT_MAX);
    names_done(&names);
}
END_TEST

START_TEST(text_of_odd_names)
{
    struct names names = {0};
    char text[COMMENT_MAX + 1];
    names_text(&names, text, sizeof(text));
    ck_assert_str_eq(text, "");
    add(&names, "", 1);
    add(&names, "\3a.b\1\"", 1);
    add(&names, "\4_srv\2-9", 1);
    names_text(&names, text, sizeof(text));
    ck_assert_str_eq(text, ".,a\\046b.\\034,_srv.-9");
    char small[6];
    names_text(&names, small, sizeof(small));
    ck_assert_str_eq(small, ".");
    names_done(&names);
}
END_TEST

START_TEST(names_come_back_from_their_text)
{
    struct names names = {0}, back = {0};
    uint8_t wire[LONG_WIRE];
    char text[COMMENT_MAX + 1], again[COMMENT_MAX + 1];
    add(&names, "", 1);
    add(&names, "\3a.b\1\"", 1);
    add(&names, "\4_srv\2-9", 1);
    names_text(&names, text, sizeof(text));
    ck_assert_int_eq(names_from_text(text, 700, &back), 0);
    names_text(&back, again, sizeof(again));
    ck_assert_str_eq(again, text);
    ck_assert_uint_eq(names.len, back.len);
    bool any;
    char denied[] = "a";
    ck_assert_uint_eq(names_mark_denied(&back, 10, is_not_in, denied, &any), 700);
    ck_assert(any); /* the same octets, not merely the same text */
    names_clear(&names);
    names_clear(&back);
    long_name(wire, 'q');
    ck_assert_int_eq(names_add(&names, wire, sizeof(wire), 1), 1);
    names_text(&names, text, sizeof(text));
    ck_assert_int_eq(names_from_text(text, 1, &back), 0);
    ck_assert_uint_eq(back.len, names.len);
    ck_assert_mem_eq(back.bytes, names.bytes, names.len);
    names_done(&names);
    names_done(&back);
}
END_TEST

static const char *const no_names[] = {"", ",", "a,", ",a", "a,,b", "a..b", ".a", "a.", "..", "A", "a b", "a\\", "a\\1",
                                       "a\\256", "a\\-12", "a,b c", "\xc3\xa9",
                                       /* 64 octets in a label */
                                       "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                                       /* 256 octets: 63 + 63 + 63 + 62 */
                                       "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa."
                                       "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa."
                                       "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa."
                                       "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};

START_TEST(what_is_no_name)
{
    struct names names = {0};
    ck_assert_msg(names_from_text(no_names[_i], 1, &names) == -EINVAL, "%s", no_names[_i]);
    names_done(&names);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("nft_leases");
    TCase *tests = tcase_create("leases and names");
    tcase_add_test(tests, agrees_with_an_array);
    tcase_add_test(tests, names_lose_permission);
    tcase_add_test(tests, names_are_bounded);
    tcase_add_test(tests, text_of_odd_names);
    tcase_add_test(tests, names_come_back_from_their_text);
    tcase_add_loop_test(tests, what_is_no_name, 0, sizeof(no_names) / sizeof(no_names[0]));
    suite_add_tcase(suite, tests);
    return suite;
}
