#include "runner.h"

#include "dns/shares.h"
#include "dns/tcp_sources.h"

#include <arpa/inet.h>

struct connection {
    struct tcp_member member; /* first */
    bool idle;
};

static struct sock_addr at(const char *address, uint16_t port)
{
    struct sock_addr addr = {.in = {.sin_family = AF_INET, .sin_port = htons(port)}};
    ck_assert_int_eq(inet_pton(AF_INET, address, &addr.in.sin_addr), 1);
    return addr;
}

static bool is_idle(struct tcp_member *member)
{
    return ((struct connection *)member)->idle;
}

static void join(struct tcp_sources *sources, struct connection *connections, size_t n, const char *address, bool idle)
{
    struct sock_addr peer = at(address, 1);
    for (size_t i = 0; i < n; i++) {
        connections[i].idle = idle;
        ck_assert_int_eq(tcp_sources_join(sources, &connections[i].member, &peer), 0);
    }
}

START_TEST(who_has_most_makes_room)
{
    struct tcp_sources sources = {0};
    struct connection many[3], few[2];
    join(&sources, few, 2, "10.0.5.2", true);
    join(&sources, many, 3, "10.0.5.3", false);
    ck_assert_ptr_eq(tcp_sources_victim(&sources, is_idle), &many[0].member);
    tcp_sources_leave(&many[0].member);
    tcp_sources_leave(&many[1].member);
    ck_assert_ptr_eq(tcp_sources_victim(&sources, is_idle), &few[0].member);
    tcp_sources_each(&sources, tcp_sources_leave);
    ck_assert_ptr_null(tcp_sources_victim(&sources, is_idle));
}
END_TEST

START_TEST(all_of_loopback_is_one_source)
{
    struct tcp_sources sources = {0};
    struct connection local[3], other[2];
    join(&sources, other, 2, "10.0.5.2", true);
    join(&sources, &local[0], 1, "127.0.0.1", true);
    join(&sources, &local[1], 1, "127.0.0.2", true);
    join(&sources, &local[2], 1, "127.9.9.9", true);
    ck_assert_ptr_eq(tcp_sources_victim(&sources, is_idle), &local[0].member);
    tcp_sources_each(&sources, tcp_sources_leave);
}
END_TEST

START_TEST(of_one_source_an_old_idle_one_or_the_oldest)
{
    struct tcp_sources sources = {0};
    struct connection c[8];
    join(&sources, c, 8, "10.0.5.2", false);
    c[7].idle = true; /* has just come */
    ck_assert_ptr_eq(tcp_sources_victim(&sources, is_idle), &c[0].member);
    c[3].idle = true;
    ck_assert_ptr_eq(tcp_sources_victim(&sources, is_idle), &c[3].member);
    tcp_sources_touch(&c[3].member);
    ck_assert_ptr_eq(tcp_sources_victim(&sources, is_idle), &c[0].member);
    tcp_sources_touch(&c[0].member);
    ck_assert_ptr_eq(tcp_sources_victim(&sources, is_idle), &c[1].member);
    tcp_sources_each(&sources, tcp_sources_leave);
}
END_TEST

START_TEST(a_part_of_a_batch_for_each_source)
{
    struct shares shares;
    struct sock_addr a = at("10.0.5.2", 40000), b = at("10.0.5.2", 40001);
    for (int batch = 0; batch < 3; batch++) {
        shares_begin(&shares, 2);
        ck_assert(shares_take(&shares, &a));
        ck_assert(shares_take(&shares, &a));
        ck_assert(!shares_take(&shares, &a));
        ck_assert(shares_take(&shares, &b));
    }
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("tcp_sources");
    TCase *tests = tcase_create("sources");
    tcase_add_test(tests, who_has_most_makes_room);
    tcase_add_test(tests, all_of_loopback_is_one_source);
    tcase_add_test(tests, of_one_source_an_old_idle_one_or_the_oldest);
    tcase_add_test(tests, a_part_of_a_batch_for_each_source);
    suite_add_tcase(suite, tests);
    return suite;
}
