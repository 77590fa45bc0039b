/* Which open flows end when a policy that takes permission away has settled. */
#include "nft_plain.h"
#include "nft_world.h"
#include "runner.h"

#include <poll.h>
#include <unistd.h>

#define LOST "198.51.100.7"
#define KEPT "203.0.113.7"

static const struct nft_policy open_to_all = {.default_allow = true};

/* What the application sees on a socket that nobody sends to. */
static int error_of(int fd)
{
    struct pollfd poller = {.fd = fd, .events = POLLIN};
    int error = 0;
    socklen_t size = sizeof(error);
    if (poll(&poller, 1, 0) == 1 && poller.revents & (POLLERR | POLLHUP))
        ck_assert_int_eq(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size), 0);
    return error;
}

static void settle(struct nft *nft)
{
    struct why why = {""};
    ck_assert_msg(nft_settle(nft, &why) == 0, "%s", why.text);
}

static int dialed(int type, const char *addr, uint16_t port, uint32_t mark)
{
    int fd = dial(type, addr, port, mark);
    ck_assert_int_ge(fd, 0);
    if (type == SOCK_DGRAM)
        ck_assert_int_eq(send(fd, "x", 1, 0), 1);
    return fd;
}

START_TEST(flows_end_when_the_policy_has_settled)
{
    static const int types[] = {SOCK_STREAM, SOCK_DGRAM};
    serve_outside(8080);
    struct nft *nft = installed(&plain, &open_to_all);
    settle(nft);
    int lost = dialed(types[_i], LOST, 8080, 0), kept = dialed(types[_i], KEPT, 8080, 0);
    struct nft_policy policy = {.default_allow = true, .deny = ranges("198.51.100.0/24", NULL)};
    ck_assert_int_eq(nft_apply(nft, &policy, nothing, NULL, NULL), 0);
    ck_assert_int_eq(error_of(lost), 0);
    settle(nft);
    ck_assert_int_eq(error_of(lost), ECONNABORTED);
    ck_assert_int_eq(error_of(kept), 0);
    struct nft_policy narrow = {.allow = ranges("198.51.100.0/24", NULL)};
    ck_assert_int_eq(nft_apply(nft, &narrow, nothing, NULL, NULL), 0);
    settle(nft);
    ck_assert_int_eq(error_of(kept), ECONNABORTED);
    expect("nft -s list set inet opensandbox revoked_v4", "{ " KEPT " timeout 10m }");
    ck_assert_int_eq(nft_apply(nft, &open_to_all, nothing, NULL, NULL), 0);
    expect_not("nft -s list set inet opensandbox revoked_v4", KEPT);
    nft_free(nft);
}
END_TEST

START_TEST(a_policy_that_was_taken_back_ends_nothing)
{
    serve_outside(8080);
    struct nft *nft = installed(&plain, &open_to_all);
    settle(nft);
    int fd = dialed(SOCK_STREAM, LOST, 8080, 0);
    ck_assert_int_eq(nft_apply(nft, &deny_all, nothing, NULL, NULL), 0);
    ck_assert_int_eq(nft_apply(nft, &open_to_all, nothing, NULL, NULL), 0);
    settle(nft);
    ck_assert_int_eq(error_of(fd), 0);
    ck_assert_int_eq(nft_apply(nft, &deny_all, nothing, NULL, NULL), 0);
    settle(nft);
    ck_assert_int_eq(error_of(fd), ECONNABORTED);
    nft_free(nft);
}
END_TEST

START_TEST(a_flow_that_outlives_its_lease_goes_on)
{
    serve_outside(8080);
    struct nft *nft = installed(&plain, &deny_all);
    settle(nft);
    ck_assert_int_eq(learn(nft, LOST, A, 300), 0);
    int fd = dialed(SOCK_STREAM, LOST, 8080, 0);
    run("nft flush set inet opensandbox dyn_allow_v4");
    nft_free(nft);
    nft = installed(&plain, &deny_all);
    settle(nft);
    ck_assert_int_eq(error_of(fd), 0);
    nft_free(nft);
}
END_TEST

START_TEST(the_sidecar_keeps_its_own)
{
    struct sock_addr upstream;
    sock_addr_parse(LOST ":8053", 53, &upstream);
    struct nft_settings settings = plain;
    settings.upstreams = &upstream;
    settings.n_upstreams = 1;
    serve_outside(8053);
    struct nft *nft = installed(&settings, &deny_all);
    int marked = dialed(SOCK_STREAM, KEPT, 8053, MARK), asked = dialed(SOCK_DGRAM, LOST, 8053, MARK);
    struct nft_policy policy = {.deny = ranges("198.51.100.0/24", "203.0.113.0/24", NULL)};
    ck_assert_int_eq(nft_apply(nft, &policy, nothing, NULL, NULL), 0);
    settle(nft);
    ck_assert_int_eq(error_of(marked), 0);
    ck_assert_int_eq(error_of(asked), 0);
    nft_free(nft);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("nft_flows");
    TCase *tests = tcase_create("flows");
    tcase_add_checked_fixture(tests, build_world, NULL);
    tcase_set_timeout(tests, 30);
    tcase_add_loop_test(tests, flows_end_when_the_policy_has_settled, 0, 2);
    tcase_add_test(tests, a_policy_that_was_taken_back_ends_nothing);
    tcase_add_test(tests, a_flow_that_outlives_its_lease_goes_on);
    tcase_add_test(tests, the_sidecar_keeps_its_own);
    suite_add_tcase(suite, tests);
    return suite;
}
