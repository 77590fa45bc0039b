/* Which queries wait for one exchange. */
#include "dns/sharing.h"

#include "dns_wire.h"
#include "runner.h"

static struct query_pool *pool;
static struct sharing sharing;

static void set_up(void)
{
    memset(&sharing, 0, sizeof(sharing));
    ck_assert_int_eq(query_pool_new(1024, 1, &pool), 0);
}

static void tear_down(void)
{
    query_pool_free(pool);
}

static struct query *take(ldns_pkt *pkt, uint64_t now)
{
    struct wire_message wire;
    struct dns_question question;
    struct dns_edns edns;
    wire_from_pkt(pkt, &wire);
    ck_assert_int_eq(dns_scan_query(wire.data, wire.len, &question, &edns), DNS_SCAN_OK);
    ck_assert_uint_eq(wire.len, question.end + (edns.present ? DNS_OPT_SIZE : 0u));
    struct query *query = query_take(pool, wire.data, wire.len);
    ck_assert_ptr_nonnull(query);
    query->question_end = question.end;
    query->type = question.type;
    query->edns = edns;
    query->started_ns = now;
    query->key = cache_key(1, wire.data, &question, &edns);
    return query;
}

static struct query *take_name(const char *name, uint64_t now)
{
    return take(query_pkt(name, LDNS_RR_TYPE_A), now);
}

static unsigned n_askers(const struct query *query)
{
    unsigned n = 0;
    for (const struct query *asker = query->next_asker; asker; asker = asker->next_asker)
        n++;
    return n;
}

START_TEST(the_same_question_waits)
{
    struct query *first = take_name("www.a.test", 0), *second = take_name("WWW.a.Test", 1);
    struct query *third = take_name("www.a.test", 5000000000), *other = take_name("www.b.test", 2);
    ck_assert_ptr_null(sharing_join(&sharing, first));
    ck_assert_ptr_eq(sharing_join(&sharing, second), first);
    ck_assert_ptr_eq(sharing_join(&sharing, third), first); /* however long it takes */
    ck_assert_ptr_null(sharing_join(&sharing, other));
    ck_assert_uint_eq(n_askers(first), 2);
    ck_assert_uint_eq(n_askers(other), 0);
    ck_assert_ptr_null(sharing_split(&sharing, first, false));
    ck_assert_uint_eq(n_askers(first), 2);
    struct query *later = take_name("www.a.test", 3);
    ck_assert_ptr_null(sharing_join(&sharing, later));
    sharing_end(&sharing, later);
    sharing_end(&sharing, first); /* again */
}
END_TEST

/* In 64 ways at once, and as often as one likes: one is under way. */
START_TEST(in_whatever_way_it_is_asked_it_is_under_way_once)
{
    struct query *first = NULL;
    for (int i = 0; i < 64 * 8; i++) {
        ldns_pkt *pkt = query_pkt("a.test", LDNS_RR_TYPE_A);
        ldns_pkt_set_rd(pkt, i & 1);
        ldns_pkt_set_ad(pkt, i & 2);
        ldns_pkt_set_cd(pkt, i & 4);
        ldns_pkt_set_edns_do(pkt, i & 8);
        if (i & 16)
            ldns_pkt_set_edns_udp_size(pkt, (uint16_t)(512 + i));
        struct query *query = take(pkt, 0);
        query->tcp = i & 32 ? (struct tcp_client *)&sharing : NULL; /* never followed */
        struct query *joined = sharing_join(&sharing, query);
        ck_assert_ptr_eq(joined, first);
        first = first ? first : query;
    }
    ck_assert_ptr_null(sharing_join(&sharing, take(query_pkt("a.test", LDNS_RR_TYPE_AAAA), 0)));
    unsigned ended = 0, turns = 0;
    for (struct query *query = first; query; turns++) {
        struct query *others = sharing_split(&sharing, query, false);
        for (const struct query *asker = query; asker; asker = asker->next_asker, ended++)
            ck_assert_uint_eq(asker->key.variant, query->key.variant);
        if (others) /* in the order in which they came, and joined as the first was */
            ck_assert_ptr_eq(sharing_join(&sharing, take_name("a.test", 0)), others);
        ended -= others != NULL;
        query = others;
    }
    ck_assert_uint_eq(ended, 64 * 8);
    ck_assert_uint_eq(turns, 25); /* DO comes with EDNS; and who joined late, when its way had had its turn */
}
END_TEST

START_TEST(what_is_cut_is_asked_again_for_who_wants_all)
{
    struct query *first = take_name("a.test", 0), *second = take_name("a.test", 0), *third = take_name("a.test", 0);
    second->tcp = (struct tcp_client *)&sharing;
    ck_assert_ptr_null(sharing_join(&sharing, first));
    ck_assert_ptr_eq(sharing_join(&sharing, second), first);
    ck_assert_ptr_eq(sharing_join(&sharing, third), first);
    ck_assert_ptr_eq(sharing_split(&sharing, first, true), second);
    ck_assert_ptr_eq(first->next_asker, third);
    ck_assert_uint_eq(n_askers(second), 0);
    ck_assert_ptr_eq(sharing_join(&sharing, take_name("a.test", 0)), second);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("sharing");
    TCase *tcase = tcase_create("sharing");
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_test(tcase, the_same_question_waits);
    tcase_add_test(tcase, in_whatever_way_it_is_asked_it_is_under_way_once);
    tcase_add_test(tcase, what_is_cut_is_asked_again_for_who_wants_all);
    suite_add_tcase(suite, tcase);
    return suite;
}
