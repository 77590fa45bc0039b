#include "runner.h"

#include "dns/shares.h"
#include "dns/tcp_sources.h"

#include <arpa/inet.h>

struct connection {
    struct tcp_member member; /* first */
    unsigned burden;
};

static struct sock_addr at(const char *address, uint16_t port)
{
    struct sock_addr addr = {.in = {.sin_family = AF_INET, .sin_port = htons(port)}};
    ck_assert_int_eq(inet_pton(AF_INET, address, &addr.in.sin_addr), 1);
    return addr;
}

static unsigned burden(struct tcp_member *member)
{
    return ((struct connection *)member)->burden;
}

static void join(struct tcp_sources *sources, struct connection *connections, size_t n, const char *address,
                 unsigned burden_each)
{
    struct sock_addr peer = at(address, 1);
    for (size_t i = 0; i < n; i++) {
        connections[i].burden = burden_each;
        ck_assert_int_eq(tcp_sources_join(sources, &connections[i].member, &peer), 0);
    }
}

START_TEST(who_has_most_makes_room)
{
    struct tcp_sources sources = {0};
    struct connection many[3], few[2];
    join(&sources, few, 2, "10.0.5.2", 0);
    join(&sources, many, 3, "10.0.5.3", 1);
    ck_assert_ptr_eq(tcp_sources_victim(&sources, burden), &many[0].member);
    tcp_sources_leave(&many[0].member);
    tcp_sources_leave(&many[1].member);
    ck_assert_ptr_eq(tcp_sources_victim(&sources, burden), &few[0].member);
    tcp_sources_each(&sources, tcp_sources_leave);
    ck_assert_ptr_null(tcp_sources_victim(&sources, burden));
}
END_TEST

START_TEST(all_of_loopback_is_one_source)
{
    struct tcp_sources sources = {0};
    struct connection local[3], other[2];
    join(&sources, other, 2, "10.0.5.2", 0);
    join(&sources, &local[0], 1, "127.0.0.1", 0);
    join(&sources, &local[1], 1, "127.0.0.2", 0);
    join(&sources, &local[2], 1, "127.9.9.9", 0);
    ck_assert_ptr_eq(tcp_sources_victim(&sources, burden), &local[0].member);
    tcp_sources_each(&sources, tcp_sources_leave);
}
END_TEST

START_TEST(of_one_source_a_stalled_or_old_idle_one_or_the_busiest)
{
    struct tcp_sources sources = {0};
    struct connection c[8];
    join(&sources, c, 8, "10.0.5.2", 1);
    c[7].burden = 0; /* has just come */
    ck_assert_ptr_eq(tcp_sources_victim(&sources, burden), &c[0].member);
    c[3].burden = 0;
    ck_assert_ptr_eq(tcp_sources_victim(&sources, burden), &c[3].member);
    tcp_sources_touch(&c[3].member);
    ck_assert_ptr_eq(tcp_sources_victim(&sources, burden), &c[0].member);
    tcp_sources_touch(&c[0].member);
    ck_assert_ptr_eq(tcp_sources_victim(&sources, burden), &c[1].member);
    c[4].burden = 3;
    ck_assert_ptr_eq(tcp_sources_victim(&sources, burden), &c[4].member);
    c[2].burden = 0;
    ck_assert_ptr_eq(tcp_sources_victim(&sources, burden), &c[2].member);
    c[6].burden = TCP_STALLED;
    ck_assert_ptr_eq(tcp_sources_victim(&sources, burden), &c[6].member);
    tcp_sources_each(&sources, tcp_sources_leave);
}
END_TEST

START_TEST(a_part_of_a_batch_for_each_source)
{
    struct shares shares = {0};
    struct sock_addr a = at("10.0.5.2", 40000), b = at("10.0.5.2", 40001);
    for (int batch = 0; batch < 3; batch++) {
        unsigned slots[] = {shares_see(&shares, &a), shares_see(&shares, &b)};
        shares_begin(&shares, 2);
        ck_assert(shares_take(&shares, slots[0]));
        ck_assert(shares_take(&shares, slots[0]));
        ck_assert(!shares_take(&shares, slots[0]));
        ck_assert(shares_take(&shares, slots[1]));
    }
}
END_TEST

/* Of `n` datagrams in batches of 64, from sources that take turns, how many are left out. */
static unsigned left_out(struct shares *shares, unsigned n, unsigned sources, uint8_t part)
{
    unsigned left_out = 0;
    for (unsigned i = 0; i < n; i++) {
        struct sock_addr source = at("10.0.5.2", (uint16_t)(40000 + i % sources));
        if (i % 64 == 0)
            shares_begin(shares, part);
        unsigned slot = shares_see(shares, &source);
        left_out += !shares_take(shares, slot);
    }
    return left_out;
}

START_TEST(many_that_ask_little_are_left_alone)
{
    struct shares shares = {0};
    left_out(&shares, 20000, 100, SHARES_PART);
    ck_assert_uint_eq(left_out(&shares, 20000, 100, 2), 0);
    /* Two that ask half each are not, nor for longer than they do. */
    ck_assert_uint_gt(left_out(&shares, 20000, 2, 2), 18000);
    left_out(&shares, 20000, 100, 2);
    ck_assert_uint_eq(left_out(&shares, 20000, 100, 2), 0);
    /* Where the buffer is about to be full everybody has to wait. */
    ck_assert_uint_gt(left_out(&shares, 20000, 100, 1), 0);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("tcp_sources");
    TCase *tests = tcase_create("sources");
    tcase_add_test(tests, who_has_most_makes_room);
    tcase_add_test(tests, all_of_loopback_is_one_source);
    tcase_add_test(tests, of_one_source_a_stalled_or_old_idle_one_or_the_busiest);
    tcase_add_test(tests, a_part_of_a_batch_for_each_source);
    tcase_add_test(tests, many_that_ask_little_are_left_alone);
    suite_add_tcase(suite, tests);
    return suite;
}
