/* Which queries wait for one exchange. */
#include "dns/sharing.h"

#include "dns_wire.h"
#include "runner.h"

static struct query_pool *pool;
static struct sharing sharing;
static struct cache *keys;

static void set_up(void)
{
    memset(&sharing, 0, sizeof(sharing));
    ck_assert_int_eq(query_pool_new(1024, 1, &pool), 0);
    ck_assert_int_eq(cache_new(1, 1, &keys), 0);
}

static void tear_down(void)
{
    query_pool_free(pool);
    cache_free(keys);
}

static struct query *take(ldns_pkt *pkt, uint64_t now)
{
    struct wire_message wire;
    struct dns_question question;
    struct dns_edns edns;
    wire_from_pkt(pkt, &wire);
    ck_assert_int_eq(dns_scan_query(wire.data, wire.len, &question, &edns), DNS_SCAN_OK);
    struct query *query = query_take(pool, wire.data, wire.len);
    ck_assert_ptr_nonnull(query);
    query->question_end = question.end;
    query->type = question.type;
    query->edns = edns;
    query->started_ns = now;
    query->key = cache_key(keys, wire.data, &question, &edns);
    return query;
}

static struct query *take_name(const char *name, uint64_t now)
{
    return take(query_pkt(name, LDNS_RR_TYPE_A), now);
}

START_TEST(the_same_question_waits)
{
    struct query *first = take_name("www.a.test", 0), *second = take_name("WWW.a.Test", 1);
    struct query *third = take_name("www.a.test", 2), *other = take_name("www.b.test", 2);
    ck_assert(!sharing_join(&sharing, first));
    ck_assert(sharing_join(&sharing, second));
    ck_assert(sharing_join(&sharing, third));
    ck_assert(!sharing_join(&sharing, other));
    unsigned n = 0;
    for (const struct query *asker = first; asker; asker = asker->next_asker)
        n++;
    ck_assert_uint_eq(n, 3);
    ck_assert_ptr_null(other->next_asker);
    sharing_end(&sharing, first);
    ck_assert(!sharing_join(&sharing, take_name("www.a.test", 3)));
}
END_TEST

START_TEST(what_makes_another_answer_is_asked_by_itself)
{
    ck_assert(!sharing_join(&sharing, take_name("a.test", 0)));
    for (int i = 0; i < 4; i++) {
        ldns_pkt *pkt = query_pkt("a.test", i == 0 ? LDNS_RR_TYPE_AAAA : LDNS_RR_TYPE_A);
        if (i == 1)
            ldns_pkt_set_cd(pkt, true);
        else if (i == 2)
            ldns_pkt_set_edns_do(pkt, true);
        struct query *query = take(pkt, 0);
        if (i == 3)
            query->tcp = (struct tcp_client *)&sharing; /* never followed */
        ck_assert_msg(!sharing_join(&sharing, query), "%d", i);
    }
}
END_TEST

START_TEST(datagrams_of_another_size_are_asked_for_by_themselves)
{
    static const uint16_t sizes[] = {512, 1232, 4096, 600};
    bool joins[4];
    for (int i = 0; i < 4; i++) {
        ldns_pkt *pkt = query_pkt("a.test", LDNS_RR_TYPE_A);
        ldns_pkt_set_edns_udp_size(pkt, sizes[i]);
        joins[i] = sharing_join(&sharing, take(pkt, 0));
    }
    ck_assert(!joins[0] && !joins[1] && !joins[3]);
    ck_assert(joins[2]); /* nobody is asked for more than 1232 */
}
END_TEST

START_TEST(a_second_try_is_asked_by_itself)
{
    ck_assert(!sharing_join(&sharing, take_name("a.test", 0)));
    ck_assert(sharing_join(&sharing, take_name("a.test", SHARING_NS - 1)));
    struct query *again = take_name("a.test", SHARING_NS);
    ck_assert(!sharing_join(&sharing, again));
    ck_assert(sharing_join(&sharing, take_name("a.test", SHARING_NS + 1)));
    ck_assert_uint_eq(again->n_askers, 1);
}
END_TEST

START_TEST(waiting_is_bounded)
{
    struct query *first = take_name("a.test", 0);
    ck_assert(!sharing_join(&sharing, first));
    for (int i = 0; i < SHARING_MAX; i++)
        ck_assert(sharing_join(&sharing, take_name("a.test", 0)));
    ck_assert(!sharing_join(&sharing, take_name("a.test", 0)));
    ck_assert(sharing_join(&sharing, take_name("a.test", 0)));
    ck_assert_uint_eq(first->n_askers, SHARING_MAX);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("sharing");
    TCase *tcase = tcase_create("sharing");
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_test(tcase, the_same_question_waits);
    tcase_add_test(tcase, what_makes_another_answer_is_asked_by_itself);
    tcase_add_test(tcase, datagrams_of_another_size_are_asked_for_by_themselves);
    tcase_add_test(tcase, a_second_try_is_asked_by_itself);
    tcase_add_test(tcase, waiting_is_bounded);
    suite_add_tcase(suite, tcase);
    return suite;
}
