/* The pool of queries under way, the choice of upstreams, and replies made by ourselves. */
#include "dns/loop_probe.h"
#include "dns/query.h"
#include "dns/reply.h"
#include "dns/upstream.h"

#include "dns_wire.h"
#include "runner.h"

static const uint8_t small[40] = {0xAB, 0xCD};

START_TEST(pool_is_bounded_and_reused)
{
    struct query_pool *pool;
    ck_assert_int_eq(query_pool_new(3, 1, &pool), 0);
    struct query *q[3];
    for (int i = 0; i < 3; i++)
        ck_assert_ptr_nonnull(q[i] = query_take(pool, small, sizeof(small)));
    ck_assert_ptr_null(query_take(pool, small, sizeof(small)));
    ck_assert_uint_eq(query_count(pool), 3);
    ck_assert_uint_eq(q[0]->client_id, 0xABCD);
    query_release(pool, q[1]);
    ck_assert_ptr_eq(query_take(pool, small, sizeof(small)), q[1]);
    query_pool_free(pool);
}
END_TEST

START_TEST(ids_are_found_and_unique)
{
    struct query_pool *pool;
    enum { N = 4096 };
    static struct query *q[N];
    ck_assert_int_eq(query_pool_new(N, 1, &pool), 0);
    unsigned spread[16] = {0};
    for (int i = 0; i < N; i++) {
        q[i] = query_take(pool, small, sizeof(small));
        uint16_t id = LDNS_ID_WIRE(q[i]->packet);
        ck_assert_ptr_eq(query_by_id(pool, id), q[i]);
        spread[id >> 12]++;
    }
    for (int i = 0; i < N; i++)
        ck_assert_ptr_eq(query_by_id(pool, LDNS_ID_WIRE(q[i]->packet)), q[i]);
    for (int i = 0; i < 16; i++) /* 256 expected in each sixteenth; 6 sigma is 93 */
        ck_assert(spread[i] > 160 && spread[i] < 352);
    query_release(pool, q[7]);
    ck_assert_ptr_null(query_by_id(pool, q[7]->id));
    query_pool_free(pool);
}
END_TEST

static struct query *mixed(struct query_pool *pool, const char *name, struct wire_message *ret_sent)
{
    wire_from_pkt(query_pkt(name, LDNS_RR_TYPE_A), ret_sent);
    struct query *query = query_take(pool, ret_sent->data, ret_sent->len);
    query->question_end = (uint16_t)ret_sent->len;
    query_mix_case(pool, query);
    return query;
}

/* Every letter of the name is flipped now and then, and nothing else ever. */
START_TEST(letters_are_mixed_and_given_back)
{
    static const char *const names[] = {".",
                                        "a",
                                        "A.b",
                                        "www.example.com",
                                        "@[`{.az-AZ_09",
                                        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx."
                                        "YYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYY."
                                        "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz."
                                        "wwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwa"};
    struct query_pool *pool;
    ck_assert_int_eq(query_pool_new(1, 1, &pool), 0);
    for (size_t n = 0; n < sizeof(names) / sizeof(names[0]); n++) {
        uint8_t flipped[QUERY_PACKET_MAX] = {0};
        struct wire_message sent;
        for (int round = 0; round < 64; round++) {
            struct query *query = mixed(pool, names[n], &sent);
            for (size_t i = 2; i < QUERY_PACKET_MAX; i++)
                flipped[i] |= i < sent.len ? query->packet[i] ^ sent.data[i] : 0;
            ck_assert_int_eq(dns_answers(query->packet, sent.len, sent.data, sent.len),
                             DNS_NO_ANSWER); /* no response */
            query_give_back(query);
            query_give_back(query);
            ck_assert_mem_eq(query->packet, sent.data, sent.len);
            query_release(pool, query);
        }
        for (size_t i = 2; i < sent.len; i++) {
            bool in_name = i >= DNS_HEADER_SIZE && i < sent.len - 4;
            uint8_t c = sent.data[i] | 0x20;
            ck_assert_msg(flipped[i] == (in_name && c >= 'a' && c <= 'z' ? 0x20 : 0), "%s at %zu", names[n], i);
        }
    }
    query_pool_free(pool);
}
END_TEST

START_TEST(deadlines_in_order)
{
    struct query_pool *pool;
    ck_assert_int_eq(query_pool_new(8, 1, &pool), 0);
    ck_assert_ptr_null(query_earliest(pool));
    struct query *q[3];
    for (int i = 0; i < 3; i++)
        q[i] = query_take(pool, small, sizeof(small));
    query_await(pool, q[0], QUERY_STEP, 300);
    query_await(pool, q[1], QUERY_END, 100);
    query_await(pool, q[2], QUERY_STEP, 200);
    ck_assert_ptr_eq(query_earliest(pool), q[1]);
    query_await(pool, q[1], QUERY_STEP, 400); /* moved, not doubled */
    ck_assert_ptr_eq(query_earliest(pool), q[2]);
    query_release(pool, q[2]);
    ck_assert_ptr_eq(query_earliest(pool), q[0]);
    query_await(pool, q[0], QUERY_END, 500);
    ck_assert_ptr_eq(query_earliest(pool), q[1]);
    query_await_no_more(q[1]);
    ck_assert_ptr_eq(query_earliest(pool), q[0]);
    query_pool_free(pool);
}
END_TEST

START_TEST(upstreams_take_turns_when_they_fail)
{
    struct sock_addr addrs[3];
    for (int i = 0; i < 3; i++) {
        char text[32];
        snprintf(text, sizeof(text), "192.0.2.%d", i + 1);
        sock_addr_parse(text, 53, &addrs[i]);
    }
    struct upstreams upstreams;
    upstreams_init(&upstreams, addrs, 3, 6000);
    ck_assert_int_eq(upstreams_next(&upstreams, 0, 1), 0);
    ck_assert_int_eq(upstreams_next(&upstreams, 1, 1), 1);
    ck_assert_int_eq(upstreams_next(&upstreams, 7, 1), -1);
    for (int i = 0; i < 3; i++)
        upstreams_failed(&upstreams, 0, 1);
    ck_assert_int_eq(upstreams_next(&upstreams, 0, 2), 1); /* down: asked last */
    ck_assert_int_eq(upstreams_next(&upstreams, 6, 2), 0);
    ck_assert_int_eq(upstreams_next(&upstreams, 0, 20000000000ull), 0); /* and tried again after a while */
    upstreams_answered(&upstreams, 0);
    ck_assert_int_eq(upstreams_next(&upstreams, 0, 2), 0);
    for (size_t up = 0; up < 3; up++)
        for (int i = 0; i < 3; i++)
            upstreams_failed(&upstreams, up, 1);
    ck_assert_int_eq(upstreams_next(&upstreams, 0, 2), 0); /* all down: all are tried */
    ck_assert_int_eq(upstreams_next(&upstreams, 1, 2), 1);
}
END_TEST

START_TEST(upstreams_whose_probe_failed_are_skipped)
{
    struct sock_addr addrs[3];
    memset(addrs, 0, sizeof(addrs));
    struct upstreams upstreams;
    upstreams_init(&upstreams, addrs, 3, 6000);
    ck_assert(!upstreams_probed(&upstreams, 0, true)); /* well until shown otherwise */
    ck_assert(upstreams_probed(&upstreams, 0, false));
    ck_assert(!upstreams_probed(&upstreams, 0, false));
    ck_assert_int_eq(upstreams_next(&upstreams, 0, 1), 1);
    ck_assert_int_eq(upstreams_next(&upstreams, 2, 1), 2);
    ck_assert_int_eq(upstreams_next(&upstreams, 6, 1), -1); /* not even last */
    upstreams_probed(&upstreams, 1, false);
    ck_assert_int_eq(upstreams_next(&upstreams, 0, 1), 2);
    upstreams_drop(&upstreams, 2);
    ck_assert_int_eq(upstreams_next(&upstreams, 0, 1), 0); /* all failed: all are tried */
    ck_assert_int_eq(upstreams_next(&upstreams, 1, 1), 1);
    ck_assert(upstreams_probed(&upstreams, 1, true));
    ck_assert_int_eq(upstreams_next(&upstreams, 0, 1), 1);
}
END_TEST

START_TEST(steps_between_upstreams_fit_into_the_time)
{
    struct sock_addr addrs[UPSTREAMS_MAX];
    memset(addrs, 0, sizeof(addrs));
    const uint64_t second = 1000000000;
    for (size_t n = 1; n <= UPSTREAMS_MAX; n++) {
        for (uint64_t timeout = 1; timeout <= 120; timeout++) {
            struct upstreams upstreams;
            upstreams_init(&upstreams, addrs, n, timeout * second);
            ck_assert_uint_eq(upstreams.timeout_ns, timeout * second);
            ck_assert_uint_le(upstreams.step_ns * (n + 1), timeout * second); /* the last has a step, and one more */
            ck_assert_uint_le(upstreams.step_ns, n == 1 ? second : second / 2);
        }
    }
}
END_TEST

static struct wire_message query;

static ldns_pkt *denial(bool edns_asked)
{
    ldns_pkt *pkt = query_pkt("Blocked.test", LDNS_RR_TYPE_A);
    if (edns_asked) {
        ldns_pkt_set_edns_udp_size(pkt, 4096);
        ldns_pkt_set_edns_do(pkt, true);
    }
    wire_from_pkt(pkt, &query);
    struct dns_question question;
    struct dns_edns edns;
    ck_assert_int_eq(dns_scan_query(query.data, query.len, &question, &edns), DNS_SCAN_OK);
    uint8_t reply[DNS_REPLY_MAX];
    size_t len = dns_reply_empty(query.data, question.end, &edns, LDNS_RCODE_NXDOMAIN, LDNS_EDE_BLOCKED, "no", reply);
    ldns_pkt *ret;
    ck_assert_int_eq(ldns_wire2pkt(&ret, reply, len), LDNS_STATUS_OK);
    return ret;
}

START_TEST(denials_are_well_formed)
{
    ldns_pkt *plain = denial(false);
    ck_assert_uint_eq(ldns_pkt_id(plain), 0x1234);
    ck_assert(ldns_pkt_qr(plain) && ldns_pkt_ra(plain) && ldns_pkt_rd(plain) && !ldns_pkt_aa(plain) &&
              !ldns_pkt_tc(plain));
    ck_assert_uint_eq(ldns_pkt_get_rcode(plain), LDNS_RCODE_NXDOMAIN);
    ck_assert(!ldns_pkt_edns(plain));
    ck_assert_uint_eq(ldns_pkt_ancount(plain) + ldns_pkt_nscount(plain) + ldns_pkt_arcount(plain), 0);
    char *name = ldns_rdf2str(ldns_rr_owner(ldns_rr_list_rr(ldns_pkt_question(plain), 0)));
    ck_assert_str_eq(name, "Blocked.test.");
    free(name);
    ldns_pkt_free(plain);
    ldns_pkt *with_edns = denial(true);
    ck_assert(ldns_pkt_edns(with_edns) && ldns_pkt_edns_do(with_edns));
    ldns_rdf *data = ldns_pkt_edns_data(with_edns);
    ck_assert_uint_eq(ldns_rdf_size(data), 8);
    ck_assert_mem_eq(ldns_rdf_data(data), "\0\x0f\0\4\0\x0fno", 8);
    ldns_pkt_free(with_edns);
}
END_TEST

START_TEST(truncation_leaves_the_question)
{
    const char *records[] = {"a.test. 60 IN A 192.0.2.1"};
    struct wire_message answer;
    response("a.test", LDNS_RR_TYPE_A, records, 1, &answer);
    size_t len = dns_reply_truncate(answer.data, 24, &(struct dns_edns){.present = true});
    ldns_pkt *pkt;
    ck_assert_int_eq(ldns_wire2pkt(&pkt, answer.data, len), LDNS_STATUS_OK);
    ck_assert(ldns_pkt_tc(pkt));
    ck_assert_uint_eq(ldns_pkt_ancount(pkt), 0);
    ck_assert_uint_eq(ldns_pkt_qdcount(pkt), 1);
    ck_assert(ldns_pkt_edns(pkt));
    ldns_pkt_free(pkt);
}
END_TEST

START_TEST(loop_probe_is_known_by_its_secret)
{
    struct loop_probes probes = {0};
    uint8_t random[LOOP_PROBE_RANDOM], sent[LOOP_PROBE_MAX], answer[LOOP_PROBE_MAX];
    for (size_t i = 0; i < sizeof(random); i++)
        random[i] = (uint8_t)(i * 37);
    size_t len = loop_probe_start(&probes, 2, random, sent);
    struct dns_question question;
    struct dns_edns edns;
    ck_assert_int_eq(dns_scan_query(sent, len, &question, &edns), DNS_SCAN_OK);
    const struct loop_probe *probe = loop_probe_find(&probes, question.name, question.name_len);
    ck_assert_ptr_eq(probe, &probes.list[2]);
    ck_assert(!loop_probe_came_back(probe, sent, len)); /* the name gives the secret away to nobody */
    size_t answer_len = loop_probe_answer(probe, sent, question.end, answer);
    ldns_pkt *pkt;
    ck_assert_int_eq(ldns_wire2pkt(&pkt, answer, answer_len), LDNS_STATUS_OK);
    ck_assert(ldns_pkt_qr(pkt));
    ck_assert_uint_eq(ldns_pkt_ancount(pkt), 1);
    ldns_pkt_free(pkt);
    ck_assert(loop_probe_came_back(probe, answer, answer_len));
    question.name[5] ^= 1;
    ck_assert_ptr_null(loop_probe_find(&probes, question.name, question.name_len));
    question.name[5] ^= 1;
    loop_probe_end(&probes, 2);
    ck_assert_ptr_null(loop_probe_find(&probes, question.name, question.name_len));
    ck_assert_uint_eq(probes.active, 0);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("query");
    TCase *tcase = tcase_create("query");
    tcase_add_test(tcase, pool_is_bounded_and_reused);
    tcase_add_test(tcase, ids_are_found_and_unique);
    tcase_add_test(tcase, letters_are_mixed_and_given_back);
    tcase_add_test(tcase, deadlines_in_order);
    tcase_add_test(tcase, upstreams_take_turns_when_they_fail);
    tcase_add_test(tcase, upstreams_whose_probe_failed_are_skipped);
    tcase_add_test(tcase, steps_between_upstreams_fit_into_the_time);
    tcase_add_test(tcase, denials_are_well_formed);
    tcase_add_test(tcase, truncation_leaves_the_question);
    tcase_add_test(tcase, loop_probe_is_known_by_its_secret);
    suite_add_tcase(suite, tcase);
    return suite;
}
