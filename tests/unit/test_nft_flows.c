/* Which open flows end when a policy that takes permission away has settled. */
#include "base/loop.h"
#include "base/mailbox.h"
#include "nft_plain.h"
#include "nft_world.h"
#include "runner.h"

#include <poll.h>
#include <unistd.h>

#define LOST "198.51.100.7"
#define KEPT "203.0.113.7"

static struct nft_settings looped; /* `plain`, and a mailbox */
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

static struct loop *loop;
static unsigned n_settled;

static void begin(void)
{
    struct mailbox *mailbox;
    build_world();
    ck_assert_int_eq(loop_new(&loop), 0);
    ck_assert_int_eq(mailbox_new(loop, NULL, &mailbox), 0);
    looped = plain;
    looped.mailbox = mailbox;
}

static void end(void)
{
    mailbox_free(looped.mailbox);
    loop_free(loop);
}

static void settled(void *ctx, int error, const struct why *why)
{
    ck_assert_msg(error == 0, "%s", why->text);
    n_settled++;
    loop_stop(loop);
}

static void wait_settled(unsigned n)
{
    while (n_settled < n)
        ck_assert_int_eq(loop_run(loop), 0);
}

static void settle(struct nft *nft)
{
    unsigned before = n_settled;
    nft_settle(nft, settled, NULL);
    wait_settled(before + 1);
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
    struct nft *nft = installed(&looped, &open_to_all);
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
    struct nft *nft = installed(&looped, &open_to_all);
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
    struct nft *nft = installed(&looped, &deny_all);
    settle(nft);
    ck_assert_int_eq(learn(nft, LOST, A, 300), 0);
    int fd = dialed(SOCK_STREAM, LOST, 8080, 0);
    run("nft flush set inet opensandbox dyn_allow_v4");
    nft_free(nft);
    nft = installed(&looped, &deny_all);
    settle(nft);
    ck_assert_int_eq(error_of(fd), 0);
    nft_free(nft);
}
END_TEST

START_TEST(the_sidecar_keeps_its_own)
{
    struct sock_addr upstream;
    sock_addr_parse(LOST ":8053", 53, &upstream);
    struct nft_settings settings = looped;
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

START_TEST(what_gives_permission_needs_no_walk)
{
    serve_outside(8080);
    struct nft *nft = installed(&looped, &open_to_all);
    struct nft_policy narrow = {.deny = ranges("203.0.113.0/24", NULL), .allow = ranges("198.51.100.0/24", NULL)};
    struct nft_policy wider = {.deny = ranges("203.0.113.0/25", NULL), .allow = ranges("198.51.0.0/16", NULL)};
    settle(nft);
    ck_assert_int_eq(nft_apply(nft, &narrow, nothing, NULL, NULL), 0);
    settle(nft);
    ck_assert_int_eq(nft_apply(nft, &wider, nothing, NULL, NULL), 0);
    unsigned before = n_settled;
    nft_settle(nft, settled, NULL);
    ck_assert_uint_eq(n_settled, before + 1); /* at once */
    ck_assert_int_eq(nft_apply(nft, &narrow, nothing, NULL, NULL), 0);
    nft_settle(nft, settled, NULL);
    ck_assert_uint_eq(n_settled, before + 1);
    wait_settled(before + 2);
    /* Names that lose permission: no range says so. */
    ck_assert_int_eq(learn(nft, "192.0.2.7", A, 300), 0);
    ck_assert_int_eq(nft_apply(nft, &narrow, nothing, NULL, NULL), 0);
    nft_settle(nft, settled, NULL);
    ck_assert_uint_eq(n_settled, before + 2);
    wait_settled(before + 3);
    nft_free(nft);
}
END_TEST

START_TEST(where_nothing_is_open_no_walk_is_needed)
{
    struct nft_settings counting = looped;
    struct nft_policy first = {.default_allow = true, .deny = ranges("203.0.113.0/24", NULL)};
    struct nft_policy second = {.default_allow = true, .deny = ranges("198.51.100.0/24", NULL)};
    counting.log_peers = true;
    serve_outside(8080);
    struct nft *nft = installed(&counting, &open_to_all);
    settle(nft);
    unsigned before = n_settled;
    ck_assert_int_eq(nft_apply(nft, &first, nothing, NULL, NULL), 0);
    nft_settle(nft, settled, NULL);
    ck_assert_uint_eq(n_settled, before + 1); /* at once */
    int lost = dialed(SOCK_STREAM, LOST, 8080, 0);
    for (unsigned i = 2; i < 4; i++) { /* a walk that finds something is no reason to leave out the next */
        ck_assert_int_eq(nft_apply(nft, i == 2 ? &second : &first, nothing, NULL, NULL), 0);
        nft_settle(nft, settled, NULL);
        ck_assert_uint_eq(n_settled, before + i - 1);
        wait_settled(before + i);
    }
    ck_assert_int_eq(error_of(lost), ECONNABORTED);
    nft_free(nft);
}
END_TEST

/* Several walks, several who wait, and policies that come while one is under way. */
START_TEST(policies_that_overtake_a_walk_are_settled_after_it)
{
    serve_outside(8080);
    struct nft *nft = installed(&looped, &open_to_all);
    settle(nft);
    int lost = dialed(SOCK_STREAM, LOST, 8080, 0), kept = dialed(SOCK_STREAM, KEPT, 8080, 0);
    struct nft_policy first = {.default_allow = true, .deny = ranges("198.51.100.0/24", NULL)};
    struct nft_policy second = {.default_allow = true, .deny = ranges("203.0.113.0/24", NULL)};
    unsigned before = n_settled;
    ck_assert_int_eq(nft_apply(nft, &first, nothing, NULL, NULL), 0);
    nft_settle(nft, settled, NULL);
    ck_assert_int_eq(nft_apply(nft, &second, nothing, NULL, NULL), 0);
    nft_settle(nft, settled, NULL);
    nft_settle(nft, settled, NULL);
    wait_settled(before + 1);
    ck_assert_int_eq(error_of(lost), ECONNABORTED);
    wait_settled(before + 3);
    ck_assert_int_eq(error_of(kept), ECONNABORTED);
    nft_free(nft);
}
END_TEST

/* What the policy in force allows is not refused because the one before did not. */
START_TEST(a_walk_that_was_overtaken_refuses_nothing_that_is_allowed)
{
    serve_outside(8080);
    struct nft *nft = installed(&looped, &open_to_all);
    settle(nft);
    int lost = dialed(SOCK_STREAM, LOST, 8080, 0), denied = dialed(SOCK_STREAM, KEPT, 8080, 0);
    struct nft_policy next = {.allow = ranges("198.51.100.0/24", NULL)};
    unsigned before = n_settled;
    ck_assert_int_eq(nft_apply(nft, &deny_all, nothing, NULL, NULL), 0);
    nft_settle(nft, settled, NULL);
    ck_assert_int_eq(nft_apply(nft, &next, nothing, NULL, NULL), 0);
    nft_settle(nft, settled, NULL);
    wait_settled(before + 2);
    expect_not("nft -s list set inet opensandbox revoked_v4", LOST);
    expect("nft -s list set inet opensandbox revoked_v4", KEPT);
    ck_assert_int_eq(error_of(denied), ECONNABORTED);
    close(lost);
    close(dialed(SOCK_STREAM, LOST, 8080, 0));
    nft_free(nft);
}
END_TEST

START_TEST(a_walk_that_is_given_up)
{
    serve_outside(8080);
    for (int i = 0; i < 20; i++) {
        struct nft *nft = installed(&looped, &open_to_all);
        close(dialed(SOCK_DGRAM, LOST, 8080, 0));
        nft_settle(nft, settled, NULL);
        nft_free(nft); /* nobody is called any more */
    }
    ck_assert_uint_eq(n_settled, 0);
}
END_TEST

struct seen {
    unsigned n, n_tcp;
    struct sock_addr last;
};

static void see(void *ctx, uint8_t protocol, const struct sock_addr *peer)
{
    struct seen *seen = ctx;
    seen->n++;
    seen->n_tcp += protocol == IPPROTO_TCP;
    seen->last = *peer;
}

static struct seen preview(struct nft *nft, const struct nft_policy *policy)
{
    struct seen seen = {0};
    struct nft_preview what = {
        .policy = *policy, .still_allowed = nothing, .report_flow = see, .done = settled, .ctx = &seen};
    unsigned before = n_settled;
    nft_preview_flows(nft, &what);
    wait_settled(before + 1);
    return seen;
}

START_TEST(a_preview_names_the_flows_that_would_end)
{
    serve_outside(8080);
    char text[SOCK_ADDR_TEXT_MAX];
    struct nft *nft = installed(&looped, &open_to_all);
    settle(nft);
    int fd = dialed(SOCK_STREAM, LOST, 8080, 0);
    dialed(SOCK_DGRAM, LOST, 8080, 0);
    dialed(SOCK_STREAM, KEPT, 8080, 0);
    struct nft_policy deny = {.default_allow = true, .deny = ranges("203.0.113.0/24", NULL)};
    struct nft_policy narrow = {.allow = ranges("203.0.113.0/24", NULL)};
    ck_assert_uint_eq(preview(nft, &open_to_all).n, 0);
    struct seen seen = preview(nft, &deny);
    ck_assert_uint_eq(seen.n, 1);
    ck_assert_str_eq(sock_addr_format(&seen.last, text), KEPT ":8080");
    seen = preview(nft, &narrow);
    ck_assert_uint_eq(seen.n, 2);
    ck_assert_uint_eq(seen.n_tcp, 1);
    ck_assert_str_eq(sock_addr_format(&seen.last, text), LOST ":8080");
    /* What was said comes true, and then there is nothing left to say. */
    ck_assert_int_eq(error_of(fd), 0);
    ck_assert_int_eq(nft_apply(nft, &narrow, nothing, NULL, NULL), 0);
    settle(nft);
    ck_assert_int_eq(error_of(fd), ECONNABORTED);
    ck_assert_uint_eq(preview(nft, &narrow).n, 0);
    /* By names. */
    ck_assert_int_eq(learn(nft, LOST, A, 300), 0);
    dialed(SOCK_STREAM, LOST, 8080, 0);
    ck_assert_uint_eq(preview(nft, &narrow).n_tcp, 1);
    nft_free(nft);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("nft_flows");
    TCase *tests = tcase_create("flows");
    tcase_add_checked_fixture(tests, begin, end);
    tcase_set_timeout(tests, 30);
    tcase_add_loop_test(tests, flows_end_when_the_policy_has_settled, 0, 2);
    tcase_add_test(tests, a_policy_that_was_taken_back_ends_nothing);
    tcase_add_test(tests, a_flow_that_outlives_its_lease_goes_on);
    tcase_add_test(tests, the_sidecar_keeps_its_own);
    tcase_add_test(tests, what_gives_permission_needs_no_walk);
    tcase_add_test(tests, where_nothing_is_open_no_walk_is_needed);
    tcase_add_test(tests, policies_that_overtake_a_walk_are_settled_after_it);
    tcase_add_test(tests, a_walk_that_was_overtaken_refuses_nothing_that_is_allowed);
    tcase_add_test(tests, a_walk_that_is_given_up);
    tcase_add_test(tests, a_preview_names_the_flows_that_would_end);
    suite_add_tcase(suite, tests);
    return suite;
}
