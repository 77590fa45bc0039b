/* What becomes of a transaction when netlink fails: the functions of libmnl that conn.c calls are ours here, and fail
 * when they are told to. */
#include "nft_plain.h"
#include "runner.h"

#include <dlfcn.h>
#include <errno.h>
#include <libmnl/libmnl.h>

#define LIST_ALLOW "nft -s list set inet opensandbox dyn_allow_v4"

static struct fault {
    int send_error;    /* of the next message; nothing is sent */
    unsigned good;     /* so many are sent before that */
    unsigned more;     /* and so many fail after it */
    int receive_error; /* so often, instead of receiving */
    unsigned receive_times;
    int lose; /* what comes next is received and gone, and this is the error */
} fault;

ssize_t mnl_socket_sendto(const struct mnl_socket *socket, const void *data, size_t size)
{
    ssize_t (*real)(const struct mnl_socket *, const void *, size_t) = dlsym(RTLD_NEXT, "mnl_socket_sendto");
    if (!fault.send_error)
        return real(socket, data, size);
    if (fault.good) {
        fault.good--;
        return real(socket, data, size);
    }
    errno = fault.send_error;
    if (!fault.more--)
        fault = (struct fault){0};
    return -1;
}

ssize_t mnl_socket_recvfrom(const struct mnl_socket *socket, void *data, size_t size)
{
    ssize_t (*real)(const struct mnl_socket *, void *, size_t) = dlsym(RTLD_NEXT, "mnl_socket_recvfrom");
    if (fault.receive_times) {
        fault.receive_times--;
        errno = fault.receive_error;
        return -1;
    }
    if (fault.lose) {
        while (real(socket, data, size) > 0)
            ;
        errno = fault.lose;
        fault.lose = 0;
        return -1;
    }
    return real(socket, data, size);
}

static const int errors[] = {ENOBUFS, EBUSY, EINTR, ENOMEM};
#define N_ERRORS (int)(sizeof(errors) / sizeof(errors[0]))

START_TEST(what_could_not_be_sent_changes_nothing)
{
    struct nft *nft = installed(&plain, &deny_all);
    ck_assert_int_eq(learn(nft, "198.51.100.1", A, 300), 0);
    fault.send_error = errors[_i];
    ck_assert_int_eq(learn(nft, "198.51.100.2", A, 300), -errors[_i]);
    expect_not(LIST_ALLOW, "198.51.100.2");
    expect(LIST_ALLOW, "198.51.100.1");
    ck_assert_int_eq(learn(nft, "198.51.100.2", A, 300), 0);
    expect(LIST_ALLOW, "198.51.100.2");
    nft_free(nft);
}
END_TEST

/* What the kernel does not know of a lease, ours must not either: a name that it bears only here would keep the address
 * open when the one that the kernel knows of is denied. */
START_TEST(a_name_that_could_not_be_sent_is_forgotten)
{
    struct nft *nft = installed(&plain, &deny_all);
    struct lease_info info;
    struct ip_addr addr = ip("198.51.100.1");
    ck_assert_int_eq(learn(nft, "198.51.100.1", A, 300), 0);
    for (int i = 0; i < 2; i++) {
        fault.send_error = errors[_i];
        fault.good = 1; /* the question whether connections prolonged the lease */
        ck_assert_int_eq(learn(nft, "198.51.100.1", B, 300), -errors[_i]);
        nft_lookup(nft, &addr, &info);
        ck_assert_str_eq(info.names, "a.example");
    }
    ck_assert_int_eq(learn(nft, "198.51.100.1", B, 300), 0);
    nft_lookup(nft, &addr, &info);
    ck_assert_str_eq(info.names, "a.example,b.example");
    expect(LIST_ALLOW, "b.example");
    nft_free(nft);
}
END_TEST

START_TEST(a_policy_that_could_not_be_sent_leaves_the_old_one)
{
    struct nft *nft = installed(&plain, &deny_all);
    struct why why = {0};
    ck_assert_int_eq(learn(nft, "198.51.100.1", A, 300), 0);
    fault.send_error = errors[_i];
    ck_assert_int_eq(nft_apply(nft, &(struct nft_policy){.default_allow = true}, nothing, NULL, &why), -errors[_i]);
    expect(LIST_ALLOW, "198.51.100.1");
    expect("nft list chain inet opensandbox egress", "policy drop");
    ck_assert_int_eq(nft_apply(nft, &deny_all, nothing, NULL, &why), 0);
    expect_not(LIST_ALLOW, "198.51.100.1");
    nft_free(nft);
}
END_TEST

/* From one to the other there are several transactions, which share no range. */
#define LIST_RANGES "nft list table inet opensandbox | grep -o '10[.][0-9.]*/16' | tr '\n' ' '"

/* What changes with them: the default too, nothing, or an address that was revoked and is given back. */
enum { DEFAULT, RANGES, LEARNED, N_CHANGES };

static int change_of_ranges(struct nft *nft, int what)
{
    const struct nft_policy next = {
        .default_allow = what == DEFAULT, .deny = ranges("10.1.0.0/16", NULL), .allow = ranges("10.2.0.0/16", NULL)};
    struct why why = {0};
    return nft_apply(nft, &next, what == LEARNED ? everything : nothing, NULL, &why);
}

static void expect_changed(int what, bool changed)
{
    static const char *const defaults[] = {"goto denied", "goto direct"};
    ck_assert_str_eq(output(LIST_RANGES), changed ? "10.1.0.0/16 10.2.0.0/16 " : "10.8.0.0/16 10.9.0.0/16 ");
    expect("nft list chain inet opensandbox fallback", defaults[changed && what == DEFAULT]);
    (changed && what == LEARNED ? expect : expect_not)(LIST_ALLOW, "198.51.100.1");
}

#define FAILS_AFTER 8 /* messages that are sent */
static const unsigned more_failures[] = {0, 1, 2, 100};
#define N_MORE (int)(sizeof(more_failures) / sizeof(more_failures[0]))

/* Whichever of its transactions fails, and of those that mend it, one of both policies is in force, and nft_apply()
 * says which: the new one at once, the old one when the kernel can again. */
START_TEST(a_change_that_fails_halfway_leaves_one_of_both)
{
    const struct nft_policy first = {.deny = ranges("10.8.0.0/16", NULL), .allow = ranges("10.9.0.0/16", NULL)};
    int what = _i % N_CHANGES;
    struct nft *nft = installed(&plain, &first);
    bool repaired;
    struct why why = {0};
    ck_assert_int_eq(learn(nft, "198.51.100.1", A, 300), 0);
    ck_assert_int_eq(nft_apply(nft, &first, nothing, NULL, &why), 0);
    fault = (struct fault){.send_error = ENOMEM,
                           .good = (unsigned)(_i / N_CHANGES / N_MORE),
                           .more = more_failures[_i / N_CHANGES % N_MORE]};
    int error = change_of_ranges(nft, what);
    fault = (struct fault){0};
    ck_assert(!error || error == -ENOMEM);
    if (!error)
        expect_changed(what, true);
    ck_assert_int_eq(nft_keep(nft, &repaired, &why), 0);
    ck_assert(!repaired);
    expect_changed(what, !error);
    ck_assert_int_eq(change_of_ranges(nft, what), 0);
    ck_assert_str_eq(output(LIST_RANGES), "10.1.0.0/16 10.2.0.0/16 ");
    nft_free(nft);
}
END_TEST

START_TEST(an_interrupted_verdict_is_read_again)
{
    struct nft *nft = installed(&plain, &deny_all);
    fault.receive_error = _i ? ENOBUFS : EINTR;
    fault.receive_times = 3;
    ck_assert_int_eq(learn(nft, "198.51.100.1", A, 300), 0);
    expect(LIST_ALLOW, "198.51.100.1");
    nft_free(nft);
}
END_TEST

START_TEST(a_lost_verdict_is_found_by_the_generation)
{
    struct nft *nft = installed(&plain, &deny_all);
    fault.lose = _i ? ENOMEM : ENOBUFS;
    ck_assert_int_eq(learn(nft, "198.51.100.1", A, 300), 0);
    expect(LIST_ALLOW, "198.51.100.1");
    nft_free(nft);
}
END_TEST

/* Somebody else's change and our refused one look like one of ours; the next look tells. */
START_TEST(a_lost_refusal_is_noticed)
{
    struct nft *nft = installed(&plain, &deny_all);
    bool repaired = false;
    run("nft delete table inet opensandbox");
    fault.lose = ENOBUFS;
    learn(nft, "198.51.100.1", A, 300);
    struct why why = {0};
    ck_assert_int_eq(nft_keep(nft, &repaired, &why), 0);
    ck_assert(repaired);
    expect("nft list chain inet opensandbox egress", "policy drop");
    nft_free(nft);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("nft_faults");
    TCase *tests = tcase_create("netlink that fails");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, enter, NULL);
    tcase_add_loop_test(tests, what_could_not_be_sent_changes_nothing, 0, N_ERRORS);
    tcase_add_loop_test(tests, a_name_that_could_not_be_sent_is_forgotten, 0, N_ERRORS);
    tcase_add_loop_test(tests, a_policy_that_could_not_be_sent_leaves_the_old_one, 0, N_ERRORS);
    tcase_add_loop_test(tests, a_change_that_fails_halfway_leaves_one_of_both, 0, N_CHANGES * N_MORE * FAILS_AFTER);
    tcase_add_loop_test(tests, an_interrupted_verdict_is_read_again, 0, 2);
    tcase_add_loop_test(tests, a_lost_verdict_is_found_by_the_generation, 0, 2);
    tcase_add_test(tests, a_lost_refusal_is_noticed);
    suite_add_tcase(suite, tests);
    return suite;
}
