/* Which connections the rules show, and what the log says of them. */
#include "nft/nflog.h"
#include "nft/peers.h"
#include "nft_world.h"
#include "runner.h"

#include <netinet/icmp6.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define NAME "\1a\7example"
#define TICK_NS (5 * NS_PER_MS)

static struct metrics counts;
static struct nft_settings settings = {
    .filter = true, .dns_port = DNS_PORT, .mark = MARK, .metrics = &counts, .max_addresses = 1000};
static const struct nft_policy deny_all = {0};
static struct log *records;
static struct loop *loop;
static struct loop_timer tick;
static _Atomic unsigned ticks;
static _Atomic bool stopping;
static pthread_mutex_t held = PTHREAD_MUTEX_INITIALIZER; /* keeps the loop from its next turn */
static struct peers *peers;
static pthread_t thread;

static const char *refused_by(void *ctx, const struct ip_addr *addr)
{
    return "a rule";
}

static void tick_fired(struct loop_timer *timer)
{
    pthread_mutex_lock(&held);
    pthread_mutex_unlock(&held);
    peers_count(peers);
    ticks++;
    if (stopping)
        loop_stop(loop);
    loop_timer_set(loop, timer, loop_now(loop) + TICK_NS);
}

static void *run_loop(void *arg)
{
    loop_run(loop);
    return NULL;
}

static void listen_to_peers(void)
{
    static const struct peers_hooks hooks = {.refused_by = refused_by};
    struct why why = {""};
    tick = (struct loop_timer){.fire = tick_fired};
    ck_assert_int_eq(loop_new(&loop), 0);
    ck_assert_int_eq(log_new(8 << 20, LOG_INFO, &records), 0);
    ck_assert_msg(peers_new(loop, &settings, &hooks, records, &peers, &why) == 0, "%s", why.text);
    ck_assert_int_eq(loop_timer_set(loop, &tick, 1), 0);
    ck_assert_int_eq(pthread_create(&thread, NULL, run_loop, NULL), 0);
    settings.log_peers = true;
}

/* Until the loop has seen what the kernel said so far: it may be in a turn that began before. */
static void settle(void)
{
    for (unsigned before = ticks; ticks - before < 2;)
        poll(NULL, 0, 1);
}

static uint64_t count(enum metric metric)
{
    settle();
    return metric_get(&counts, metric);
}

static void stop_listening(void)
{
    stopping = true;
    pthread_join(thread, NULL);
    peers_free(peers);
    log_free(records);
    loop_free(loop);
}

/* The next record as "MESSAGE KEY=VALUE …", "" when there is none. */
static const char *next_record(void)
{
    static char text[1024];
    struct log_record record;
    struct log_field field;
    text[0] = '\0';
    if (!log_peek(records, &record)) {
        settle();
        if (!log_peek(records, &record))
            return text;
    }
    size_t len = (size_t)snprintf(text, sizeof(text), "%s", record.msg);
    while (log_field_next(&record, &field)) {
        if (field.type == LOG_INT)
            len += (size_t)snprintf(text + len, sizeof(text) - len, " %s=%lld", field.key, (long long)field.integer);
        else
            len += (size_t)snprintf(text + len, sizeof(text) - len, " %s=%.*s", field.key, (int)field.len, field.data);
    }
    log_pop(records);
    return text;
}

static void send_one(int type, const char *addr, uint16_t port)
{
    int fd = dial(type, addr, port, 0);
    if (fd >= 0)
        close(fd);
}

static void ping(const char *addr)
{
    struct ip_addr literal = ip(addr);
    bool v4 = literal.family == AF_INET;
    struct sock_addr peer = sock_addr_make(&literal, 0);
    struct icmphdr echo = {.type = v4 ? ICMP_ECHO : ICMP6_ECHO_REQUEST, .checksum = v4 ? 0xfff7 : 0};
    int fd = socket(literal.family, SOCK_RAW | SOCK_CLOEXEC, v4 ? IPPROTO_ICMP : IPPROTO_ICMPV6);
    sendto(fd, &echo, sizeof(echo), 0, &peer.sa, sock_addr_len(&peer));
    close(fd);
}

/* Everything but 192.0.2.0/24 and 2001:db8:e::/64, which the rules leave to the default. */
static struct nft_policy mixed(void)
{
    return (struct nft_policy){.always_allow = ranges("198.51.100.64/26", NULL),
                               .deny = ranges("203.0.113.0/24", "2001:db8:51:0:1::/80", NULL),
                               .allow = ranges("198.51.100.0/24", "2001:db8:51::/64", NULL)};
}

static const struct {
    int type; /* 0: ICMP */
    const char *addr;
    uint16_t port;
    const char *record;
} plan[] = {
    {SOCK_STREAM, "198.51.100.1", 8080,
     "egress outbound peer=198.51.100.1 network.peer.port=8080 network.transport=tcp"},
    {SOCK_DGRAM, "198.51.100.1", 8080,
     "egress outbound peer=198.51.100.1 network.peer.port=8080 network.transport=udp"},
    {SOCK_STREAM, "198.51.100.65", 8080,
     "egress outbound peer=198.51.100.65 network.peer.port=8080 network.transport=tcp"},
    {0, "198.51.100.1", 0, "egress outbound peer=198.51.100.1 network.transport=icmp"},
    {SOCK_STREAM, "2001:db8:51::1", 8080,
     "egress outbound peer=2001:db8:51::1 network.peer.port=8080 network.transport=tcp"},
    {0, "2001:db8:51::1", 0, "egress outbound peer=2001:db8:51::1 network.transport=icmpv6"},
    {SOCK_STREAM, "203.0.113.1", 22,
     "egress denied peer=203.0.113.1 network.peer.port=22 network.transport=tcp rule=a rule"},
    {SOCK_DGRAM, "203.0.113.1", 22,
     "egress denied peer=203.0.113.1 network.peer.port=22 network.transport=udp rule=a rule"},
    {0, "203.0.113.1", 0, "egress denied peer=203.0.113.1 network.transport=icmp rule=a rule"},
    {SOCK_STREAM, "192.0.2.1", 80,
     "egress denied peer=192.0.2.1 network.peer.port=80 network.transport=tcp rule=a rule"},
    {SOCK_DGRAM, "2001:db8:51:0:1::1", 80,
     "egress denied peer=2001:db8:51:0:1::1 network.peer.port=80 network.transport=udp rule=a rule"},
    {0, "2001:db8:e::1", 0, "egress denied peer=2001:db8:e::1 network.transport=icmpv6 rule=a rule"},
    {SOCK_STREAM, "198.51.100.1", 853,
     "egress denied peer=198.51.100.1 network.peer.port=853 network.transport=tcp rule=dot"},
    {SOCK_DGRAM, "198.51.100.1", 443,
     "egress denied peer=198.51.100.1 network.peer.port=443 network.transport=udp rule=doh"},
    {SOCK_STREAM, "198.51.100.2", 443, "egress outbound peer=198.51.100.2 network.peer.port=443 network.transport=tcp"},
};

START_TEST(every_kind_of_connection)
{
    settings.block_doh_443 = true;
    settings.doh_blocklist = ranges("198.51.100.1", NULL);
    listen_to_peers();
    serve_outside(8080);
    struct nft_policy policy = mixed();
    struct nft *nft = installed(&settings, &policy);
    for (size_t i = 0; i < sizeof(plan) / sizeof(plan[0]); i++) {
        if (plan[i].type)
            send_one(plan[i].type, plan[i].addr, plan[i].port);
        else
            ping(plan[i].addr);
        ck_assert_str_eq(next_record(), plan[i].record);
        ck_assert_str_eq(next_record(), "");
    }
    nft_free(nft);
    stop_listening();
}
END_TEST

START_TEST(what_is_no_direct_connection)
{
    listen_to_peers();
    struct service web = serve_outside(8080), dns = serve_outside(53), here = serve("::", 8080);
    struct nft_policy policy = mixed();
    struct nft *nft = installed(&settings, &policy);
    ck_assert_int_eq(learn(nft, "198.51.100.1", NAME, 30), 0);
    ck_assert_int_eq(learn(nft, "198.51.100.65", NAME, 30), 0); /* always allowed as well */
    ck_assert_int_eq(learn(nft, "192.0.2.1", NAME, 30), 0);
    ck_assert_int_eq(learn(nft, "2001:db8:51::1", NAME, 30), 0);
    expect_passes("198.51.100.1", 8080, &web, 0);
    expect_passes("198.51.100.65", 8080, &web, 0);
    expect_passes("2001:db8:51::1", 8080, &web, 0);
    ping("192.0.2.1");
    expect_passes("127.0.0.1", 8080, &here, 0);
    expect_passes("10.9.0.2", 8080, &here, 0);
    expect_passes("203.0.113.1", 53, &dns, MARK);
    expect_served("203.0.113.5", "10.9.0.2");
    expect_served("2001:db8:51:0:1::5", "2001:db8:9::2");
    ck_assert_str_eq(next_record(), "");
    ck_assert_uint_eq(count(METRIC_PEERS_ALLOWED), 0);
    ck_assert_uint_eq(count(METRIC_PEERS_DENIED), 0);
    nft_free(nft);
    stop_listening();
}
END_TEST

START_TEST(one_record_a_minute_and_every_connection_counted)
{
    listen_to_peers();
    struct nft_policy policy = mixed();
    struct nft *nft = installed(&settings, &policy);
    for (int i = 0; i < 50; i++) {
        send_one(SOCK_STREAM, "198.51.100.1", 8081); /* TCP picks no port twice in a row */
        send_one(SOCK_DGRAM, "203.0.113.1", 8081);
    }
    ck_assert(strstr(next_record(), "egress outbound"));
    ck_assert(strstr(next_record(), "egress denied"));
    ck_assert_str_eq(next_record(), "");
    ck_assert_uint_eq(count(METRIC_PEERS_ALLOWED), 50);
    ck_assert_uint_eq(count(METRIC_PEERS_DENIED), 50);
    ck_assert_uint_eq(count(METRIC_PEERS_SUPPRESSED), 0);
    /* A minute later. */
    run("nft flush set inet opensandbox peers_denied_v4");
    send_one(SOCK_DGRAM, "203.0.113.1", 8081);
    ck_assert(strstr(next_record(), "egress denied"));
    nft_free(nft);
    stop_listening();
}
END_TEST

START_TEST(a_flow_that_nobody_answers_is_one_connection)
{
    listen_to_peers();
    struct service quiet = serve_outside(8080);
    struct nft_policy policy = mixed(), denied = {.deny = ranges("198.51.100.0/24", NULL)};
    struct nft *nft = installed(&settings, &policy);
    int fd = dial(SOCK_DGRAM, "198.51.100.1", 8080, 0);
    ck_assert(readable(quiet.udp));
    for (int i = 0; i < 10; i++)
        ck_assert_int_eq(send(fd, "x", 1, 0), 1);
    ck_assert(strstr(next_record(), "egress outbound"));
    ck_assert_uint_eq(count(METRIC_PEERS_ALLOWED), 1);
    /* When it is refused from some moment on, that shows although it is not new. */
    ck_assert_int_eq(nft_apply(nft, &denied, NULL, NULL, NULL), 0);
    ck_assert_int_eq(send(fd, "x", 1, 0), -1);
    ck_assert(strstr(next_record(), "egress denied peer=198.51.100.1"));
    close(fd);
    nft_free(nft);
    stop_listening();
}
END_TEST

static bool never(void *ctx, const uint8_t *name, size_t len)
{
    return false;
}

START_TEST(memory_outlives_policies_repairs_and_restarts)
{
    listen_to_peers();
    serve_outside(8080);
    struct nft_policy policy = mixed(), denied = {.deny = ranges("198.51.100.0/24", NULL)};
    struct nft *nft = installed(&settings, &policy);
    send_one(SOCK_STREAM, "198.51.100.1", 8080);
    send_one(SOCK_STREAM, "2001:db8:51::1", 8080);
    ck_assert(strstr(next_record(), "egress outbound peer=198.51.100.1"));
    ck_assert(strstr(next_record(), "egress outbound peer=2001:db8:51::1"));
    ck_assert_uint_eq(count(METRIC_PEERS_ALLOWED), 2);
    ck_assert_int_eq(nft_apply(nft, &denied, never, NULL, NULL), 0);
    send_one(SOCK_STREAM, "198.51.100.1", 8080);
    ck_assert(strstr(next_record(), "egress denied peer=198.51.100.1"));
    ck_assert_int_eq(nft_apply(nft, &policy, never, NULL, NULL), 0);
    ck_assert_int_eq(nft_install(nft, &policy, NULL), 0);
    nft_free(nft);
    nft = installed(&settings, &policy);
    settle();
    send_one(SOCK_STREAM, "198.51.100.1", 8080);
    send_one(SOCK_STREAM, "2001:db8:51::1", 8080);
    ck_assert_str_eq(next_record(), "");
    ck_assert_uint_eq(count(METRIC_PEERS_ALLOWED), 4); /* the new table counts from 0 */
    ck_assert_int_eq(nft_apply(nft, &denied, never, NULL, NULL), 0);
    send_one(SOCK_STREAM, "198.51.100.1", 8080);
    ck_assert_str_eq(next_record(), "");
    nft_free(nft);
    stop_listening();
}
END_TEST

#define N_MANY 2000

struct seen {
    uint64_t denied, losses; /* records of refused connections; lines that tell of those that are missing */
};

static void take_records(struct seen *seen)
{
    for (const char *record; *(record = next_record());) {
        seen->denied += strstr(record, "egress denied") != NULL;
        seen->losses += strstr(record, " direct connections are not in the log") != NULL;
    }
}

START_TEST(what_the_limit_holds_back_is_counted)
{
    listen_to_peers();
    struct nft *nft = installed(&settings, &deny_all);
    struct ip_addr first = ip("198.51.100.1");
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    for (uint16_t port = 1000; port < 1000 + N_MANY; port++) {
        struct sock_addr peer = sock_addr_make(&first, port);
        ck_assert_int_eq(sendto(fd, "x", 1, 0, &peer.sa, sock_addr_len(&peer)), -1);
    }
    close(fd);
    struct seen seen = {0};
    take_records(&seen);
    ck_assert_uint_ge(seen.denied, 200);
    ck_assert_uint_lt(seen.denied, N_MANY);
    ck_assert_uint_eq(seen.losses, 1);
    ck_assert_uint_eq(count(METRIC_PEERS_DENIED), N_MANY);
    ck_assert_uint_eq(count(METRIC_PEERS_SUPPRESSED), N_MANY - seen.denied);
    nft_free(nft);
    stop_listening();
}
END_TEST

START_TEST(what_does_not_fit_the_socket_is_counted)
{
    listen_to_peers();
    struct nft *nft = installed(&settings, &deny_all);
    run("nft 'flush chain inet opensandbox peers_denied; add rule inet opensandbox peers_denied log group 54 snaplen "
        "128 "
        "queue-threshold 1'"); /* without a limit */
    struct ip_addr first = ip("198.51.100.1");
    struct sock_addr peer = sock_addr_make(&first, 1);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    pthread_mutex_lock(&held);
    for (int i = 0; i < N_MANY * 10; i++)
        sendto(fd, "x", 1, 0, &peer.sa, sock_addr_len(&peer));
    pthread_mutex_unlock(&held);
    struct seen seen = {0};
    take_records(&seen);
    sendto(fd, "x", 1, 0, &peer.sa, sock_addr_len(&peer)); /* the gap shows with the next message */
    take_records(&seen);
    ck_assert_uint_lt(seen.denied, N_MANY * 10);
    ck_assert_uint_eq(seen.losses, 1);
    ck_assert_uint_eq(count(METRIC_PEERS_SUPPRESSED), N_MANY * 10 + 1 - seen.denied);
    close(fd);
    nft_free(nft);
    stop_listening();
}
END_TEST

START_TEST(only_one_listens)
{
    struct why why = {""};
    int fd = -1;
    ck_assert_int_eq(nflog_open(&fd, &why), 0);
    ck_assert_int_eq(nflog_join(fd, 54, &why), 0);
    ck_assert_int_eq(loop_new(&loop), 0);
    ck_assert_int_eq(log_new(1 << 20, LOG_INFO, &records), 0);
    peers = NULL;
    ck_assert_int_eq(peers_new(loop, &settings, &(struct peers_hooks){.refused_by = refused_by}, records, &peers, &why),
                     -EPERM);
    ck_assert_str_eq(why.text, "another program listens to group 54 of NFLOG");
    ck_assert_ptr_null(peers);
    ck_assert_str_eq(output("nft list ruleset"), ""); /* the rules that were tried left nothing */
    close(fd);
    log_free(records);
    loop_free(loop);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("nft_peers");
    TCase *tests = tcase_create("peers");
    tcase_add_checked_fixture(tests, build_world, NULL);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, every_kind_of_connection);
    tcase_add_test(tests, what_is_no_direct_connection);
    tcase_add_test(tests, one_record_a_minute_and_every_connection_counted);
    tcase_add_test(tests, a_flow_that_nobody_answers_is_one_connection);
    tcase_add_test(tests, memory_outlives_policies_repairs_and_restarts);
    tcase_add_test(tests, what_the_limit_holds_back_is_counted);
    tcase_add_test(tests, what_does_not_fit_the_socket_is_counted);
    tcase_add_test(tests, only_one_listens);
    suite_add_tcase(suite, tests);
    return suite;
}
