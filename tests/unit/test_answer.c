/* Which addresses an answer gives: only those that its question leads to. */
#include "dns/answer.h"

#include "dns_wire.h"
#include "random.h"
#include "runner.h"

#include <errno.h>

static struct wire_message msg;
static struct dns_found found[65535 / 15 + 1];
static size_t n_found;

static int collect(const char *name, ldns_rr_type type)
{
    struct wire_message query;
    struct dns_question question;
    struct dns_edns edns;
    wire_from_pkt(query_pkt(name, type), &query);
    ck_assert_int_eq(dns_scan_query(query.data, query.len, &question, &edns), DNS_SCAN_OK);
    uint8_t *exact = malloc(msg.len);
    memcpy(exact, msg.data, msg.len);
    n_found = 0;
    int error = dns_answer_addresses(exact, msg.len, &question, found, &n_found);
    free(exact);
    return error;
}

static void expect(const char *const *addresses, size_t n)
{
    ck_assert_uint_eq(n_found, n);
    for (size_t i = 0; i < n; i++) {
        char text[IP_TEXT_MAX];
        ck_assert_str_eq(ip_format(&found[i].addr, text), addresses[i]);
    }
}

#define COLLECT(name, type, records, ...)                                                                              \
    do {                                                                                                               \
        const char *wanted_[] = {NULL, ##__VA_ARGS__};                                                                 \
        response(name, type, records, sizeof(records) / sizeof(records[0]), &msg);                                     \
        ck_assert_int_eq(collect(name, type), 0);                                                                      \
        expect(wanted_ + 1, sizeof(wanted_) / sizeof(wanted_[0]) - 1);                                                 \
    } while (0)

START_TEST(direct_answers)
{
    const char *v4[] = {"a.test. 300 IN A 192.0.2.1", "A.TEST. 20 IN A 192.0.2.2"};
    COLLECT("a.test", LDNS_RR_TYPE_A, v4, "192.0.2.1", "192.0.2.2");
    ck_assert_uint_eq(found[0].ttl, 300);
    ck_assert_uint_eq(found[1].ttl, 20);
    ck_assert_mem_eq(msg.data + found[1].ttl_at, "\0\0\0\x14", 4);
    const char *v6[] = {"a.test. 300 IN AAAA 2001:db8::1"};
    COLLECT("a.test", LDNS_RR_TYPE_AAAA, v6, "2001:db8::1");
}
END_TEST

START_TEST(follows_cname_chains_in_any_order)
{
    const char *in_order[] = {"a.test. 60 IN CNAME b.test.", "b.test. 60 IN CNAME c.test.",
                              "c.test. 60 IN A 192.0.2.9"};
    COLLECT("a.test", LDNS_RR_TYPE_A, in_order, "192.0.2.9");
    const char *reversed[] = {"c.test. 60 IN A 192.0.2.9", "b.test. 60 IN CNAME c.test.",
                              "a.test. 60 IN CNAME b.test."};
    COLLECT("a.test", LDNS_RR_TYPE_A, reversed, "192.0.2.9");
}
END_TEST

START_TEST(passes_over_what_nobody_asked_for)
{
    const char *foreign[] = {"victim.test. 60 IN A 192.0.2.66", "a.test. 60 IN A 192.0.2.1"};
    COLLECT("a.test", LDNS_RR_TYPE_A, foreign, "192.0.2.1");
    const char *only_foreign[] = {"victim.test. 60 IN A 192.0.2.66"};
    COLLECT("a.test", LDNS_RR_TYPE_A, only_foreign);
    const char *below[] = {"x.a.test. 60 IN A 192.0.2.66", "test. 60 IN A 192.0.2.67"};
    COLLECT("a.test", LDNS_RR_TYPE_A, below);
    /* An address at a link of the chain that leads on belongs to no one. */
    const char *midway[] = {"a.test. 60 IN CNAME b.test.", "a.test. 60 IN A 192.0.2.66", "b.test. 60 IN A 192.0.2.1"};
    COLLECT("a.test", LDNS_RR_TYPE_A, midway, "192.0.2.1");
    const char *other_family[] = {"a.test. 60 IN AAAA 2001:db8::1", "a.test. 60 IN A 192.0.2.1"};
    COLLECT("a.test", LDNS_RR_TYPE_A, other_family, "192.0.2.1");
    const char *chaos[] = {"a.test. 60 CH A 192.0.2.66"};
    COLLECT("a.test", LDNS_RR_TYPE_A, chaos);
    const char *cname_asked[] = {"a.test. 60 IN CNAME b.test.", "b.test. 60 IN A 192.0.2.66"};
    COLLECT("a.test", LDNS_RR_TYPE_CNAME, cname_asked);
}
END_TEST

START_TEST(refuses_loops_and_endless_chains)
{
    const char *loop[] = {"a.test. 60 IN CNAME b.test.", "b.test. 60 IN CNAME a.test.", "b.test. 60 IN A 192.0.2.1"};
    response("a.test", LDNS_RR_TYPE_A, loop, 3, &msg);
    ck_assert_int_eq(collect("a.test", LDNS_RR_TYPE_A), -EBADMSG);
    char text[40][64];
    const char *chain[40];
    for (int i = 0; i < 40; i++) {
        snprintf(text[i], sizeof(text[i]), "n%d.test. 60 IN CNAME n%d.test.", i, i + 1);
        chain[i] = text[i];
    }
    response("n0.test", LDNS_RR_TYPE_A, chain, 40, &msg);
    ck_assert_int_eq(collect("n0.test", LDNS_RR_TYPE_A), -EBADMSG);
}
END_TEST

START_TEST(refuses_cut_messages)
{
    const char *records[] = {"a.test. 60 IN CNAME b.test.", "b.test. 60 IN A 192.0.2.1"};
    response("a.test", LDNS_RR_TYPE_A, records, 2, &msg);
    size_t whole = msg.len;
    for (msg.len = 24; msg.len < whole; msg.len++)
        ck_assert_int_eq(collect("a.test", LDNS_RR_TYPE_A), -EBADMSG);
}
END_TEST

START_TEST(a_ttl_with_the_highest_bit_is_zero)
{
    const char *records[] = {"a.test. 60 IN A 192.0.2.1"};
    response("a.test", LDNS_RR_TYPE_A, records, 1, &msg);
    ck_assert_int_eq(collect("a.test", LDNS_RR_TYPE_A), 0);
    msg.data[found[0].ttl_at] |= 0x80;
    ck_assert_int_eq(collect("a.test", LDNS_RR_TYPE_A), 0);
    ck_assert_uint_eq(found[0].ttl, 0);
}
END_TEST

/* The root owns a record with one byte: more records fit into a message than with a pointer. */
START_TEST(never_more_addresses_than_announced)
{
    struct wire_message query;
    wire_from_pkt(query_pkt(".", LDNS_RR_TYPE_A), &query);
    memcpy(msg.data, query.data, query.len);
    msg.len = query.len;
    msg.data[2] |= 0x80;
    unsigned n = 0;
    while (msg.len + 15 <= 65535) {
        memcpy(msg.data + msg.len, "\0\0\1\0\1\0\0\0\x3c\0\4\300\0\2\1", 15);
        msg.len += 15;
        n++;
    }
    msg.data[6] = (uint8_t)(n >> 8);
    msg.data[7] = (uint8_t)n;
    ck_assert_int_eq(collect(".", LDNS_RR_TYPE_A), 0);
    ck_assert_uint_eq(n_found, n);
    ck_assert_uint_le(n_found, dns_found_max(msg.len));
}
END_TEST

/* Random answers over a few names: the addresses are those of a plain walk over ldns's records. */
START_TEST(agrees_with_a_plain_walk)
{
    struct random random = random_new();
    for (int round = 0; round < 5000; round++) {
        char text[6][64];
        const char *records[6];
        unsigned n = 1 + random_below(&random, 6);
        int target[4] = {-1, -1, -1, -1}; /* of the CNAME that each name has */
        for (unsigned i = 0; i < n; i++) {
            unsigned owner = random_below(&random, 4), to = random_below(&random, 4);
            bool cname = random_below(&random, 3) == 0 && target[owner] < 0;
            if (cname)
                target[owner] = (int)to;
            snprintf(text[i], sizeof(text[i]),
                     cname ? "n%u.test. 60 IN CNAME n%u.test." : "n%u.test. 60 IN A 192.0.2.%u", owner, cname ? to : i);
            records[i] = text[i];
        }
        response("n0.test", LDNS_RR_TYPE_A, records, n, &msg);
        int at = 0, links = 0;
        while (target[at] >= 0 && links <= 16)
            at = target[at], links++;
        int error = collect("n0.test", LDNS_RR_TYPE_A);
        if (links > 16) {
            ck_assert_msg(error == -EBADMSG, "a loop was not seen; TEST_SEED=%lu", (unsigned long)random.seed);
            continue;
        }
        ck_assert_int_eq(error, 0);
        size_t expected = 0;
        for (unsigned i = 0; i < n; i++) {
            if (strstr(records[i], " A ") && records[i][1] == '0' + at) {
                ck_assert_msg(expected < n_found && found[expected].addr.bytes[3] == i, "TEST_SEED=%lu",
                              (unsigned long)random.seed);
                expected++;
            }
        }
        ck_assert_uint_eq(n_found, expected);
    }
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("answer");
    TCase *tcase = tcase_create("addresses");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, direct_answers);
    tcase_add_test(tcase, follows_cname_chains_in_any_order);
    tcase_add_test(tcase, passes_over_what_nobody_asked_for);
    tcase_add_test(tcase, refuses_loops_and_endless_chains);
    tcase_add_test(tcase, refuses_cut_messages);
    tcase_add_test(tcase, a_ttl_with_the_highest_bit_is_zero);
    tcase_add_test(tcase, never_more_addresses_than_announced);
    tcase_add_test(tcase, agrees_with_a_plain_walk);
    suite_add_tcase(suite, tcase);
    return suite;
}
