/* Leases that connections prolong, in the kernel and in its mirror. */
#include "base/loop.h"
#include "nft/changes.h"
#include "nft_plain.h"
#include "nft_world.h"
#include "runner.h"

#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LIST_V4 "nft list set inet opensandbox dyn_allow_v4"
#define LIST_V6 "nft list set inet opensandbox dyn_allow_v6"
#define LIST_REVOKED "nft -s list set inet opensandbox revoked_v4"
#define V4 "198.51.100.7"
#define V6 "2001:db8:51::7"

/* What is left of the only element. */
static void expect_left(const char *list, unsigned least, unsigned most)
{
    unsigned number, left = 0;
    char unit[3]; /* "m", "s" or "ms" */
    int used;
    const char *at = strstr(output("%s", list), " expires ");
    ck_assert_ptr_nonnull(at);
    for (at += strlen(" expires "); sscanf(at, "%u%2[ms]%n", &number, unit, &used) == 2; at += used)
        left += !strcmp(unit, "m") ? number * 60 : !strcmp(unit, "s") ? number : 0;
    ck_assert_uint_ge(left, least);
    ck_assert_uint_le(left, most);
}

/* What the kernel tells of its transactions: one letter a message about elements, '.' at the end of a transaction. */
static void read_changes(int fd, char *ret, size_t size)
{
    static char buffer[65536];
    size_t n = 0;
    for (ssize_t len; (len = recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT)) > 0;) {
        for (struct nlmsghdr *nlh = (struct nlmsghdr *)buffer; NLMSG_OK(nlh, len); nlh = NLMSG_NEXT(nlh, len)) {
            unsigned type = NFNL_MSG_TYPE(nlh->nlmsg_type);
            if (n + 1 < size && type == NFT_MSG_NEWGEN)
                ret[n++] = '.';
            else if (n + 1 < size && (type == NFT_MSG_NEWSETELEM || type == NFT_MSG_DELSETELEM))
                ret[n++] = type == NFT_MSG_NEWSETELEM ? 'a' : 'd';
        }
    }
    ret[n] = '\0';
}

/* A kernel before 6.12 takes the addition of an element that is there for done and leaves its time alone; one that is
 * not there cannot be deleted; the element may end at any moment. So on every kernel, in one transaction: add, so that
 * it is there; delete; add. */
START_TEST(a_lease_is_prolonged_in_a_way_that_every_kernel_knows)
{
    struct nft *nft = installed(&plain, &deny_all);
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER), group = NFNLGRP_NFTABLES;
    struct sockaddr_nl any = {.nl_family = AF_NETLINK};
    char changes[64];
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&any, sizeof(any)), 0); /* what has no address is told nothing */
    ck_assert_int_eq(setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)), 0);
    ck_assert_int_eq(learn(nft, V4, A, 10), 0);
    read_changes(fd, changes, sizeof(changes));
    ck_assert_str_eq(changes, "a.");
    ck_assert_int_eq(learn(nft, V4, A, 300), 0);
    read_changes(fd, changes, sizeof(changes));
    ck_assert_str_eq(changes, "ada.");
    expect_left(LIST_V4, 350, 360);
    close(fd);
    nft_free(nft);
}
END_TEST

static void exchange(int fd)
{
    char byte = 'x';
    ck_assert_int_eq(send(fd, &byte, 1, 0), 1);
}

START_TEST(a_connection_prolongs_what_flows_in_it_does_not)
{
    static const int types[] = {SOCK_STREAM, SOCK_DGRAM};
    static const struct {
        const char *addr, *list, *set;
    } families[] = {{V4, LIST_V4, "dyn_allow_v4"}, {V6, LIST_V6, "dyn_allow_v6"}};
    struct service service = serve_outside(8080);
    struct nft *nft = installed(&plain, &deny_all);
    for (size_t f = 0; f < 2; f++) {
        ck_assert_int_eq(learn(nft, families[f].addr, A, 0), 0);
        expect_left(families[f].list, 50, 60);
        ck_assert_int_eq(reach(types[_i], families[f].addr, 8080, &service, 0), 0);
        expect_left(families[f].list, 350, 360);
        expect(families[f].list, "comment \"a.example\"");
    }
    int fd = dial(SOCK_STREAM, V4, 8080, 0);
    ck_assert_int_ge(fd, 0);
    run("nft 'delete element inet opensandbox dyn_allow_v4 { " V4 " }; "
        "add element inet opensandbox dyn_allow_v4 { " V4 " timeout 60s }'");
    exchange(fd);
    expect_left(LIST_V4, 50, 60);
    nft_free(nft);
}
END_TEST

START_TEST(who_is_refused_prolongs_nothing)
{
    struct nft_policy policy = {.deny = ranges(V4, NULL)};
    struct service service = serve_outside(8080);
    struct nft *nft = installed(&plain, &policy);
    ck_assert_int_eq(learn(nft, V4, A, 0), 0);
    expect_refused(V4, 8080, &service, 0);
    expect_left(LIST_V4, 50, 60);
    nft_free(nft);
}
END_TEST

/* Time is the caller's: when the lease has ended for the mirror, the kernel still has most of six minutes. */
START_TEST(the_mirror_learns_of_it)
{
    struct service service = serve_outside(8080);
    struct nft *nft = installed(&plain, &deny_all);
    uint64_t now = clock_monotonic_ns();
    struct learned old = {ip(V4), 0, (const uint8_t *)A, 11}, new = {ip("198.51.100.8"), 0, (const uint8_t *)A, 11};
    ck_assert_int_eq(nft_learn(nft, &old, 1, now), 0);
    ck_assert_int_eq(reach(SOCK_STREAM, V4, 8080, &service, 0), 0);
    ck_assert_int_eq(nft_learn(nft, &new, 1, now + 70 * NS_PER_S), 0);
    ck_assert_int_eq(nft_learn(nft, &new, 1, now + 200 * NS_PER_S), 0);
    expect(LIST_V4, V4);
    expect(LIST_V4, "comment \"a.example\"");
    ck_assert_int_eq(reach(SOCK_STREAM, V4, 8080, &service, 0), 0);
    ck_assert_int_eq(nft_apply(nft, &deny_all, nothing, NULL, NULL), 0);
    expect(LIST_REVOKED, V4 " timeout 10m comment \"a.example\"");
    expect_not(LIST_V4, V4);
    nft_free(nft);
}
END_TEST

START_TEST(a_new_answer_does_not_shorten_what_a_connection_prolonged)
{
    struct service service = serve_outside(8080);
    struct nft *nft = installed(&plain, &deny_all);
    ck_assert_int_eq(learn(nft, V4, A, 0), 0);
    ck_assert_int_eq(reach(SOCK_STREAM, V4, 8080, &service, 0), 0);
    expect_left(LIST_V4, 350, 360);
    ck_assert_int_eq(learn(nft, V4, B, 0), 0);
    expect_left(LIST_V4, 350, 360);
    expect(LIST_V4, "comment \"a.example,b.example\"");
    nft_free(nft);
}
END_TEST

static bool only_a(void *ctx, const uint8_t *name, size_t len)
{
    return name[1] == 'a';
}

/* The name that stays has 10 s left of its own lease, but connections prolonged the address's. `_i`: another
 * answer came after them, or before. */
START_TEST(a_connection_prolongs_for_all_names)
{
    struct service service = serve_outside(8080);
    struct nft *nft = installed(&plain, &deny_all);
    uint64_t now = clock_monotonic_ns();
    struct learned old = {ip(V4), 0, (const uint8_t *)A, 11}, new = {ip(V4), 240, (const uint8_t *)B, 11};
    ck_assert_int_eq(nft_learn(nft, &old, 1, now - 50 * NS_PER_S), 0);
    if (_i)
        ck_assert_int_eq(reach(SOCK_STREAM, V4, 8080, &service, 0), 0);
    ck_assert_int_eq(nft_learn(nft, &new, 1, now), 0);
    if (!_i)
        ck_assert_int_eq(reach(SOCK_STREAM, V4, 8080, &service, 0), 0);
    struct ip_addr addr = ip(V4);
    struct lease_info info;
    nft_lookup(nft, &addr, &info);
    ck_assert_int_eq(info.state, LEASE_LEARNED);
    ck_assert_int_eq(nft_apply(nft, &deny_all, only_a, NULL, NULL), 0);
    expect_left(LIST_V4, 340, 360);
    expect(LIST_V4, "comment \"a.example\"");
    nft_free(nft);
}
END_TEST

/* A packet that was between looking the address up and prolonging it puts it back without a name. */
START_TEST(what_was_dropped_is_deleted_once_more)
{
    struct changes *changes;
    struct lease *lease;
    struct ip_addr addr = ip(V4), other = ip(V6);
    _cleanup_batch_ struct batch *batch = NULL;
    ck_assert_int_eq(batch_new(&batch), 0);
    ck_assert_int_eq(changes_new(10, 1, &changes), 0);
    batch_begin(batch);
    ck_assert_int_eq(changes_add(changes, ALLOW_V4, &addr, 100, &lease), 0);
    changes_commit(changes);
    ck_assert_int_eq(changes_drop(changes, ALLOW_V4, lease), 0);
    ck_assert_int_eq(changes_add(changes, ALLOW_V6, &other, 100, &lease), 0);
    changes_commit(changes);
    ck_assert_uint_eq(changes_encode_again(changes, batch), 0); /* too soon */
    changes_again_done(changes);
    ck_assert_int_eq(changes_drop(changes, ALLOW_V6, lease), 0);
    changes_commit(changes);
    ck_assert_uint_eq(changes_encode_again(changes, batch), 1);
    changes_again_done(changes);
    ck_assert_uint_eq(changes_encode_again(changes, batch), 1);
    ck_assert_int_eq(changes_add(changes, ALLOW_V6, &other, 100, &lease), 0); /* learned again */
    changes_commit(changes);
    ck_assert_uint_eq(changes_encode_again(changes, batch), 0);
    changes_again_done(changes);
    ck_assert_uint_eq(changes_encode_again(changes, batch), 0);
    changes_free(changes);
}
END_TEST

START_TEST(looking_after_the_table_deletes_once_more)
{
    bool repaired = true;
    struct nft *nft = installed(&plain, &deny_all);
    ck_assert_int_eq(learn(nft, V4, A, 300), 0);
    ck_assert_int_eq(nft_apply(nft, &deny_all, nothing, NULL, NULL), 0);
    ck_assert_int_eq(nft_keep(nft, &repaired, NULL), 0);
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(nft_keep(nft, &repaired, NULL), 0);
        ck_assert(!repaired);
    }
    expect(LIST_REVOKED, V4);
    nft_free(nft);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("nft_prolong");
    TCase *tests = tcase_create("prolonging");
    tcase_add_checked_fixture(tests, build_world, NULL);
    tcase_set_timeout(tests, 30);
    tcase_add_test(tests, a_lease_is_prolonged_in_a_way_that_every_kernel_knows);
    tcase_add_loop_test(tests, a_connection_prolongs_what_flows_in_it_does_not, 0, 2);
    tcase_add_test(tests, who_is_refused_prolongs_nothing);
    tcase_add_test(tests, the_mirror_learns_of_it);
    tcase_add_test(tests, a_new_answer_does_not_shorten_what_a_connection_prolonged);
    tcase_add_loop_test(tests, a_connection_prolongs_for_all_names, 0, 2);
    tcase_add_test(tests, what_was_dropped_is_deleted_once_more);
    tcase_add_test(tests, looking_after_the_table_deletes_once_more);
    suite_add_tcase(suite, tests);
    return suite;
}
