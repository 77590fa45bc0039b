/* Which addresses have no place in an answer, and what the answer is without them. */
#include "dns/rebinding.h"

#include "dns/reply.h"
#include "dns_wire.h"
#include "nft_fixture.h"
#include "rules.h"
#include "runner.h"

#include <dlfcn.h>
#include <errno.h>
#include <ifaddrs.h>

static struct loop *loop;
static struct log *log_queue;
static struct own_addresses *own;
static struct wire_message msg;
static struct dns_found found[64];
static size_t n_found;

static void setup(void)
{
    netns_enter_new();
    run("ip link add e0 type veth peer name e1 && ip link set e0 up && ip addr add 10.7.0.2/24 dev e0 && "
        "ip addr add 2001:db8:7::2/64 dev e0 nodad");
    ck_assert_int_eq(loop_new(&loop), 0);
    ck_assert_int_eq(log_new(4096, LOG_INFO, &log_queue), 0);
    ck_assert_int_eq(own_addresses_new(loop, log_queue, &own), 0);
}

static void teardown(void)
{
    own_addresses_free(own);
    log_free(log_queue);
    loop_free(loop);
}

static bool refuses(enum action fallback, const char *rules, const char *text)
{
    _cleanup_policy_ struct policy *policy = policy_of(fallback, rules);
    struct policy_layers layers = {.policy = policy};
    struct rebinding rebinding = {.layers = &layers, .own = own};
    struct ip_addr addr;
    ck_assert_int_eq(ip_parse(text, &addr), 0);
    return rebinding_refuses(&rebinding, &addr);
}

START_TEST(own_and_special_addresses_are_refused)
{
    static const char *const bad[] = {"127.0.0.1",
                                      "::1",
                                      "169.254.169.254",
                                      "10.7.0.2",
                                      "2001:db8:7::2",
                                      "64:ff9b::169.254.169.254",
                                      "64:ff9b::10.7.0.2",
                                      "2002:a07:2::1",
                                      "2001:db8:9::5efe:10.7.0.2",
                                      "2001:db8:9::200:5efe:127.0.0.1",
                                      "fd00:ec2::254"};
    static const char *const good[] = {
        "10.7.0.3", "10.7.0.1", "2001:db8:7::3", "203.0.113.1", "64:ff9b::203.0.113.1", "2001:db8:9::5efe:203.0.113.1"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ck_assert_msg(refuses(ACTION_DENY, "+*", bad[i]), "%s", bad[i]);
        ck_assert_msg(refuses(ACTION_ALLOW, "", bad[i]), "%s, allowed by default only", bad[i]);
    }
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        ck_assert_msg(!refuses(ACTION_DENY, "", good[i]), "%s", good[i]);
}
END_TEST

START_TEST(an_allow_rule_that_names_the_address_wins)
{
    ck_assert(!refuses(ACTION_DENY, "+169.254.169.254", "169.254.169.254"));
    ck_assert(!refuses(ACTION_DENY, "+10.7.0.0/24", "10.7.0.2"));
    ck_assert(refuses(ACTION_DENY, "+169.254.169.254 -169.254.0.0/16", "169.254.169.254"));
    ck_assert(refuses(ACTION_DENY, "+169.254.169.253", "169.254.169.254"));
    ck_assert(!refuses(ACTION_DENY, "+100.100.100.0/24", "100.100.100.200"));
    ck_assert(!refuses(ACTION_DENY, "+64:ff9b:1::/48", "64:ff9b:1::7"));
    /* of an IPv4 address that is denied, no form that leads there */
    ck_assert(refuses(ACTION_DENY, "-203.0.113.0/24", "2001:db8:9::5efe:203.0.113.1"));
    ck_assert(refuses(ACTION_DENY, "-203.0.113.0/24", "64:ff9b::203.0.113.1"));
    ck_assert(!refuses(ACTION_DENY, "-203.0.113.0/25", "64:ff9b::203.0.113.129"));
}
END_TEST

static void one_turn_is_over(void *ctx)
{
    loop_stop(loop);
}

START_TEST(a_new_address_is_known_at_once_and_a_gone_one_forgotten)
{
    run("ip addr add 10.8.0.9/32 dev e0 && ip addr del 10.7.0.2/24 dev e0");
    loop_on_turn_end(loop, one_turn_is_over, NULL);
    ck_assert(!refuses(ACTION_DENY, "", "10.8.0.9"));
    ck_assert_int_eq(loop_run(loop), 0);
    ck_assert(refuses(ACTION_DENY, "", "10.8.0.9"));
    ck_assert(!refuses(ACTION_DENY, "", "10.7.0.2"));
}
END_TEST

static int failures; /* of getifaddrs() to come */

/* In place of the C library's. */
int getifaddrs(struct ifaddrs **ret)
{
    static int (*real)(struct ifaddrs **);
    if (failures && failures--) {
        errno = ENOBUFS;
        return -1;
    }
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "getifaddrs");
    return real(ret);
}

static void look(struct loop_timer *timer)
{
    struct log_record record;
    unsigned told = 0;
    if (!refuses(ACTION_DENY, "", "10.8.0.9")) {
        loop_timer_set(loop, timer, loop_now(loop) + 20 * NS_PER_MS);
        return;
    }
    for (; log_peek(log_queue, &record); log_pop(log_queue))
        told++;
    ck_assert_uint_eq(told, 1);
    ck_assert_int_eq(failures, 0);
    loop_stop(loop);
}

START_TEST(a_reading_that_fails_is_tried_again)
{
    struct loop_timer timer = {.fire = look};
    failures = 2;
    run("ip addr add 10.8.0.9/32 dev e0");
    loop_timer_set(loop, &timer, loop_now(loop));
    ck_assert_int_eq(loop_run(loop), 0);
}
END_TEST

static struct dns_question question_for(const char *name, ldns_rr_type type)
{
    struct wire_message query;
    struct dns_question question;
    struct dns_edns edns;
    wire_from_pkt(query_pkt(name, type), &query);
    ck_assert_int_eq(dns_scan_query(query.data, query.len, &question, &edns), DNS_SCAN_OK);
    return question;
}

/* Takes out of the answer what has no place in it, as the proxy does. Returns how many records that were. */
static size_t guard(const char *name, ldns_rr_type type, const struct dns_edns *edns)
{
    _cleanup_policy_ struct policy *policy = policy_of(ACTION_DENY, "+*");
    struct policy_layers layers = {.policy = policy};
    struct rebinding rebinding = {.layers = &layers, .own = own};
    struct dns_question question = question_for(name, type);
    ck_assert_int_eq(dns_answer_addresses(msg.data, msg.len, &question, found, &n_found), 0);
    ck_assert_int_eq(rebinding_scan(&rebinding, msg.data, msg.len, question.end), 0);
    n_found = rebinding_filter(&rebinding, found, n_found);
    if (n_found)
        msg.len = dns_reply_addresses(msg.data, msg.len, question.end, edns, found, &n_found);
    return rebinding.n_refused;
}

/* The answer as ldns reads it: NOERROR, addresses only, in order. */
static void expect_answer(const char *const *records, size_t n, bool edns)
{
    ldns_pkt *pkt;
    ck_assert_int_eq(ldns_wire2pkt(&pkt, msg.data, msg.len), LDNS_STATUS_OK);
    ck_assert_uint_eq(ldns_pkt_ancount(pkt), n);
    ck_assert_uint_eq(ldns_pkt_nscount(pkt), 0);
    ck_assert(ldns_pkt_edns(pkt) == edns);
    for (size_t i = 0; i < n; i++) {
        char *text = ldns_rr2str(ldns_rr_list_rr(ldns_pkt_answer(pkt), i));
        ck_assert_msg(!strncmp(text, records[i], strlen(records[i])), "%s is not %s", text, records[i]);
        free(text);
    }
    ldns_pkt_free(pkt);
}

START_TEST(the_rest_of_an_answer_stays)
{
    const char *records[] = {"a.test. 60 IN A 127.0.0.1", "a.test. 60 IN A 192.0.2.1", "a.test. 30 IN A 10.7.0.2",
                             "a.test. 20 IN A 192.0.2.2"};
    const char *left[] = {"a.test.\t60\tIN\tA\t192.0.2.1", "a.test.\t20\tIN\tA\t192.0.2.2"};
    for (int edns = 0; edns < 2; edns++) {
        response("a.test", LDNS_RR_TYPE_A, records, 4, &msg);
        LDNS_AD_SET(msg.data);
        size_t before = msg.len;
        ck_assert_uint_eq(guard("a.test", LDNS_RR_TYPE_A, &(struct dns_edns){.present = edns}), 2);
        ck_assert_uint_le(msg.len, before);
        ck_assert(!LDNS_AD_WIRE(msg.data));
        expect_answer(left, 2, edns);
        ck_assert_uint_eq(n_found, 2);
        ck_assert_mem_eq(msg.data + found[1].ttl_at, "\0\0\0\x14", 4);
    }
}
END_TEST

START_TEST(a_chain_is_folded_and_its_ttl_kept)
{
    const char *records[] = {"a.test. 5 IN CNAME b.test.", "b.test. 60 IN CNAME c.test.", "c.test. 60 IN AAAA ::1",
                             "c.test. 60 IN AAAA 2001:db8::9"};
    const char *left[] = {"a.test.\t5\tIN\tAAAA\t2001:db8::9"};
    response("a.test", LDNS_RR_TYPE_AAAA, records, 4, &msg);
    ck_assert_uint_eq(guard("a.test", LDNS_RR_TYPE_AAAA, &(struct dns_edns){0}), 1);
    expect_answer(left, 1, false);
}
END_TEST

/* musl's resolver takes every address record, whoever owns it. */
START_TEST(records_that_nobody_asked_for_are_looked_at)
{
    const char *records[] = {"a.test. 60 IN A 192.0.2.1", "stray.test. 60 IN A 127.0.0.1",
                             "a.test. 60 IN AAAA ::ffff:10.0.0.1"};
    const char *left[] = {"a.test.\t60\tIN\tA\t192.0.2.1"};
    response("a.test", LDNS_RR_TYPE_A, records, 3, &msg);
    ck_assert_uint_eq(guard("a.test", LDNS_RR_TYPE_A, &(struct dns_edns){0}), 2);
    expect_answer(left, 1, false);
    const char *nothing_odd[] = {"a.test. 60 IN A 192.0.2.1", "stray.test. 60 IN A 192.0.2.9"};
    response("a.test", LDNS_RR_TYPE_A, nothing_odd, 2, &msg);
    ck_assert_uint_eq(guard("a.test", LDNS_RR_TYPE_A, &(struct dns_edns){0}), 0);
}
END_TEST

/* How many addresses of one record of the type with this data, in hexadecimal digits, are refused; or -errno. */
static int n_refused_of(uint8_t type, const char *rdata)
{
    _cleanup_policy_ struct policy *policy = policy_of(ACTION_DENY, "+*");
    struct policy_layers layers = {.policy = policy};
    struct rebinding rebinding = {.layers = &layers, .own = own};
    const uint8_t head[] = {0xC0, DNS_HEADER_SIZE, 0, type, 0, 1, 0, 0, 0, 60, 0, (uint8_t)(strlen(rdata) / 2)};
    response("a.test", LDNS_RR_TYPE_HTTPS, NULL, 0, &msg);
    size_t question_end = msg.len;
    memcpy(msg.data + msg.len, head, sizeof(head));
    msg.len += sizeof(head);
    for (; *rdata; rdata += 2) {
        const char digits[3] = {rdata[0], rdata[1]};
        msg.data[msg.len++] = (uint8_t)strtoul(digits, NULL, 16);
    }
    msg.data[7] = 1;
    int error = rebinding_scan(&rebinding, msg.data, msg.len, question_end);
    return error ? error : (int)rebinding.n_refused;
}

START_TEST(hints_are_looked_at)
{
    static const struct {
        uint8_t type;
        const char *rdata;
        int n;
    } cases[] = {
        {65, "000100", 0}, /* the root, no parameters */
        /* 1 b.test. alpn=h2 ipv4hint=127.0.0.1,203.0.113.1 ipv6hint=::1 */
        {65,
         "0001"
         "0162047465737400"
         "00010003026832"
         "000400087f000001cb007101"
         "0006001000000000000000000000000000000001",
         2},
        {64,
         "000100"
         "00040004a9fea9fe",
         1},
        {64,
         "000100"
         "00040004cb007101",
         0},
        {64,
         "000100"
         "00040003cb0071",
         -EBADMSG}, /* no whole address */
        {64,
         "000100"
         "00040004cb0071",
         -EBADMSG},               /* cut */
        {64, "000101", -EBADMSG}, /* the target has no end */
        {64, "00", -EBADMSG},
        {38, "0000000000000000000000000000000001", 1}, /* A6, whole */
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        ck_assert_msg(n_refused_of(cases[i].type, cases[i].rdata) == cases[i].n, "%s: %d", cases[i].rdata,
                      n_refused_of(cases[i].type, cases[i].rdata));
}
END_TEST

START_TEST(a_message_that_cannot_be_read_to_its_end_is_refused)
{
    const char *records[] = {"a.test. 60 IN A 192.0.2.1"};
    response("a.test", LDNS_RR_TYPE_A, records, 1, &msg);
    struct dns_question question = question_for("a.test", LDNS_RR_TYPE_A);
    struct rebinding rebinding = {.own = own};
    ck_assert_int_eq(rebinding_scan(&rebinding, msg.data, msg.len, question.end), 0);
    for (size_t count = 7; count <= 11; count += 2) { /* one record more in any section */
        msg.data[count]++;
        ck_assert_int_eq(rebinding_scan(&rebinding, msg.data, msg.len, question.end), -EBADMSG);
        msg.data[count]--;
    }
}
END_TEST

/* The root owns a record with one byte, and a rewritten one with two: the message must not grow over its end. */
START_TEST(an_answer_never_grows)
{
    response(".", LDNS_RR_TYPE_A, NULL, 0, &msg);
    size_t n = 40;
    for (size_t i = 0; i < n; i++) {
        memcpy(msg.data + msg.len, i ? "\0\0\1\0\1\0\0\0\x3c\0\4\300\0\2\1" : "\0\0\1\0\1\0\0\0\x3c\0\4\x7f\0\0\1", 15);
        msg.len += 15;
    }
    msg.data[7] = (uint8_t)n;
    size_t before = msg.len;
    ck_assert_uint_eq(guard(".", LDNS_RR_TYPE_A, &(struct dns_edns){.present = true}), 1);
    ck_assert_uint_le(msg.len, before);
    ck_assert_uint_ge(n_found, 36);
    ldns_pkt *pkt;
    ck_assert_int_eq(ldns_wire2pkt(&pkt, msg.data, msg.len), LDNS_STATUS_OK);
    ck_assert_uint_eq(ldns_pkt_ancount(pkt), n_found);
    ldns_pkt_free(pkt);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("rebinding");
    TCase *tcase = tcase_create("guard");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, own_and_special_addresses_are_refused);
    tcase_add_test(tcase, an_allow_rule_that_names_the_address_wins);
    tcase_add_test(tcase, a_new_address_is_known_at_once_and_a_gone_one_forgotten);
    tcase_add_test(tcase, the_rest_of_an_answer_stays);
    tcase_add_test(tcase, a_chain_is_folded_and_its_ttl_kept);
    tcase_add_test(tcase, records_that_nobody_asked_for_are_looked_at);
    tcase_add_test(tcase, a_reading_that_fails_is_tried_again);
    tcase_add_test(tcase, hints_are_looked_at);
    tcase_add_test(tcase, a_message_that_cannot_be_read_to_its_end_is_refused);
    tcase_add_test(tcase, an_answer_never_grows);
    suite_add_tcase(suite, tcase);
    return suite;
}
