/* The answer cache: what is kept, for how long, and what makes room. */
#include "dns/cache.h"

#include "base/loop.h"
#include "base/wire.h"

#include "dns_wire.h"
#include "runner.h"

#define S(seconds) ((uint64_t)((seconds) * (double)NS_PER_S))
#define START S(1000)

static struct cache *cache;
static struct wire_message msg;
static uint8_t got[CACHE_ROOM];
static struct dns_found found[65535 / 15 + 1];
static size_t n_found;
static struct ttls ttls;

/* A query of a client as the proxy sees it. */
struct asked {
    struct wire_message query;
    struct dns_question question;
    struct dns_edns edns;
    struct cache_key key;
};

static struct asked ask_pkt(ldns_pkt *pkt)
{
    static struct asked asked;
    wire_from_pkt(pkt, &asked.query);
    ck_assert_int_eq(dns_scan_query(asked.query.data, asked.query.len, &asked.question, &asked.edns), DNS_SCAN_OK);
    asked.key = cache_key(1, asked.query.data, &asked.question, &asked.edns);
    return asked;
}

static struct asked ask(const char *name, ldns_rr_type type)
{
    return ask_pkt(query_pkt(name, type));
}

/* Whether `msg`, an answer to the question, may be kept; `ttls` is set then. */
static bool scan(const struct asked *asked)
{
    n_found = 0;
    if (asked->question.type == LDNS_RR_TYPE_A)
        ck_assert_int_eq(dns_answer_addresses(msg.data, msg.len, &asked->question, found, &n_found), 0);
    return ttls_scan(msg.data, msg.len, &asked->question, found, n_found, &ttls);
}

static bool put(const struct asked *asked, uint64_t now)
{
    if (!scan(asked))
        return false;
    cache_put(cache, &asked->key, &asked->question, msg.data, msg.len, &ttls, now);
    return true;
}

static size_t get(const struct asked *asked, uint64_t now)
{
    return cache_get(cache, &asked->key, &asked->question, now, got, found, &n_found);
}

static bool put_name(const char *name, uint64_t now)
{
    char record[300];
    snprintf(record, sizeof(record), "%s. 3600 IN A 192.0.2.1", name);
    const char *records[] = {record};
    response(name, LDNS_RR_TYPE_A, records, 1, &msg);
    struct asked asked = ask(name, LDNS_RR_TYPE_A);
    return put(&asked, now);
}

static bool has_name(const char *name, uint64_t now)
{
    struct asked asked = ask(name, LDNS_RR_TYPE_A);
    return get(&asked, now) > 0;
}

static void set_up(void)
{
    ck_assert_int_eq(cache_new(64, &cache), 0);
}

static void tear_down(void)
{
    cache_free(cache);
}

/* Puts an answer of these records, with an SOA record in the authority section if any, into `msg`. */
static void negative(const char *name, ldns_pkt_rcode rcode, const char *soa)
{
    ldns_pkt *pkt = query_pkt(name, LDNS_RR_TYPE_A);
    ldns_rr *rr;
    ldns_pkt_set_qr(pkt, true);
    ldns_pkt_set_rcode(pkt, rcode);
    if (soa) {
        ck_assert_int_eq(ldns_rr_new_frm_str(&rr, soa, 0, NULL, NULL), LDNS_STATUS_OK);
        ldns_pkt_push_rr(pkt, LDNS_SECTION_AUTHORITY, rr);
    }
    wire_from_pkt(pkt, &msg);
}

START_TEST(ttls_are_counted_down_and_end)
{
    const char *records[] = {"a.test. 300 IN CNAME b.test.", "b.test. 20 IN A 192.0.2.7", "b.test. 40 IN A 192.0.2.8"};
    response("A.test", LDNS_RR_TYPE_A, records, 3, &msg);
    msg.data[2] |= LDNS_AA_MASK;
    struct asked asked = ask("a.test", LDNS_RR_TYPE_A);
    ck_assert(put(&asked, START));
    ck_assert_uint_eq(get(&asked, START), msg.len);
    ck_assert(!LDNS_AA_WIRE(got));
    ck_assert_uint_eq(n_found, 2);
    ck_assert_uint_eq(found[0].ttl, 20);
    ck_assert_uint_eq(get(&asked, START + S(4.9)), msg.len);
    ck_assert_uint_eq(found[0].ttl, 16);
    ck_assert_uint_eq(found[1].ttl, 36);
    ck_assert_mem_eq(got + found[1].ttl_at, "\0\0\0\x24", 4);
    ck_assert_mem_eq(found[1].addr.bytes, "\xC0\0\2\x08", 4);
    struct dns_rr alias;
    ck_assert(dns_rr_at(got, msg.len, asked.question.end, &alias));
    ck_assert_uint_eq(alias.ttl, 296);
    ck_assert_uint_gt(get(&asked, START + S(19.9)), 0);
    ck_assert_uint_eq(found[0].ttl, 1); /* never 0 while it is given out */
    ck_assert_uint_eq(get(&asked, START + S(20)), 0);
}
END_TEST

START_TEST(the_message_comes_back_whole)
{
    /* Over many blocks of the cache's memory, so that every seam is crossed. */
    char records[40][300];
    const char *list[40];
    for (int i = 0; i < 40; i++) {
        snprintf(records[i], sizeof(records[i]), "long.test. 60 IN TXT \"%0*d\"", 20 + i, i);
        list[i] = records[i];
    }
    response("long.test", LDNS_RR_TYPE_TXT, list, 40, &msg);
    struct asked asked = ask("long.test", LDNS_RR_TYPE_TXT);
    ck_assert(put(&asked, START));
    ck_assert_uint_eq(get(&asked, START), msg.len);
    ck_assert_mem_eq(got, msg.data, msg.len);
}
END_TEST

START_TEST(the_key_is_what_changes_the_answer)
{
    ck_assert(put_name("a.test", START));
    ck_assert(has_name("A.TeSt", START));
    struct asked other = ask("a.test", LDNS_RR_TYPE_AAAA);
    ck_assert_uint_eq(get(&other, START), 0);
    for (int i = 0; i < 5; i++) {
        ldns_pkt *pkt = query_pkt("a.test", LDNS_RR_TYPE_A);
        if (i == 0)
            ldns_pkt_set_edns_udp_size(pkt, 1232);
        else if (i == 1)
            ldns_pkt_set_edns_do(pkt, true);
        else if (i == 2)
            ldns_pkt_set_cd(pkt, true);
        else if (i == 3)
            ldns_pkt_set_rd(pkt, false);
        else
            ldns_pkt_set_ad(pkt, true);
        struct asked variant = ask_pkt(pkt);
        ck_assert_uint_eq(get(&variant, START), 0);
        ck_assert(put(&variant, START));
        ck_assert_uint_gt(get(&variant, START), 0);
        ck_assert_uint_eq(cache_count(cache), (size_t)i + 2);
    }
}
END_TEST

START_TEST(nothing_is_kept_as_its_soa_record_says)
{
    static const struct {
        ldns_pkt_rcode rcode;
        const char *soa;
        uint32_t life;
    } cases[] = {
        {LDNS_RCODE_NXDOMAIN, "test. 600 IN SOA a. b. 1 2 3 4 30", 30},
        {LDNS_RCODE_NXDOMAIN, "test. 10 IN SOA a. b. 1 2 3 4 30", 10},
        {LDNS_RCODE_NOERROR, "test. 600 IN SOA a. b. 1 2 3 4 30", 30},
        {LDNS_RCODE_NXDOMAIN, "test. 99999 IN SOA a. b. 1 2 3 4 99999", 10800},
        {LDNS_RCODE_NXDOMAIN, "test. 600 IN SOA a. b. 1 2 3 4 0", 0},
        {LDNS_RCODE_NXDOMAIN, NULL, 0},
        {LDNS_RCODE_NOERROR, NULL, 0},
        {LDNS_RCODE_SERVFAIL, "test. 600 IN SOA a. b. 1 2 3 4 30", 0},
        {LDNS_RCODE_REFUSED, NULL, 0},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        negative("no.test", cases[i].rcode, cases[i].soa);
        struct asked asked = ask("no.test", LDNS_RR_TYPE_A);
        ck_assert_int_eq(put(&asked, START), cases[i].life > 0);
        if (!cases[i].life)
            continue;
        ck_assert_uint_gt(get(&asked, START + S(cases[i].life) - 1), 0);
        ck_assert_uint_eq(get(&asked, START + S(cases[i].life)), 0);
    }
    /* Whoever keeps it behind us must not keep it longer. */
    negative("no.test", LDNS_RCODE_NXDOMAIN, cases[0].soa);
    struct asked asked = ask("no.test", LDNS_RR_TYPE_A);
    struct dns_rr soa;
    ck_assert(put(&asked, START));
    ck_assert_uint_gt(get(&asked, START + S(10)), 0);
    ck_assert(dns_rr_at(got, msg.len, asked.question.end, &soa));
    ck_assert_uint_eq(soa.ttl, 20);
}
END_TEST

START_TEST(what_is_not_kept)
{
    const char *records[] = {"a.test. 60 IN A 192.0.2.1", "a.test. 0 IN A 192.0.2.2"};
    struct asked asked = ask("a.test", LDNS_RR_TYPE_A);
    response("a.test", LDNS_RR_TYPE_A, records, 1, &msg);
    ck_assert(scan(&asked));
    msg.len--; /* breaks off */
    ck_assert(!ttls_scan(msg.data, msg.len, &asked.question, found, 0, &ttls));
    msg.len += 2; /* something behind it */
    ck_assert(!scan(&asked));
    response("a.test", LDNS_RR_TYPE_A, records, 1, &msg);
    msg.data[2] |= LDNS_TC_MASK;
    ck_assert(!scan(&asked));
    response("a.test", LDNS_RR_TYPE_A, records, 2, &msg); /* one TTL is 0 */
    ck_assert(!scan(&asked));
    const char *elsewhere[] = {"a.test. 60 CH A 192.0.2.1"};
    response("a.test", LDNS_RR_TYPE_A, elsewhere, 1, &msg);
    ck_assert(!scan(&asked));
}
END_TEST

START_TEST(an_answer_takes_the_place_of_the_earlier_one)
{
    ck_assert(put_name("a.test", START));
    ck_assert(put_name("a.test", START + S(3000)));
    ck_assert_uint_eq(cache_count(cache), 1);
    ck_assert(has_name("a.test", START + S(6000)));
    cache_clear(cache);
    ck_assert(!has_name("a.test", START + S(6000)));
    ck_assert_uint_eq(cache_count(cache), 0);
    ck_assert(put_name("a.test", START));
    ck_assert(has_name("a.test", START));
}
END_TEST

START_TEST(a_flood_leaves_alone_what_was_asked_for_again)
{
    char name[64];
    for (int i = 0; i < 40; i++) {
        snprintf(name, sizeof(name), "popular%d.test", i);
        ck_assert(put_name(name, START));
        ck_assert(has_name(name, START));
    }
    for (int i = 0; i < 5000; i++) {
        snprintf(name, sizeof(name), "random%d.test", i);
        ck_assert(put_name(name, START));
        ck_assert_uint_le(cache_count(cache), 64);
    }
    for (int i = 0; i < 40; i++) {
        snprintf(name, sizeof(name), "popular%d.test", i);
        ck_assert_msg(has_name(name, START), "%s", name);
    }
    ck_assert(!has_name("random100.test", START));
    ck_assert(has_name("random4999.test", START));
}
END_TEST

START_TEST(what_nobody_asks_for_any_more_makes_room)
{
    char name[64];
    for (int i = 0; i < 64; i++) {
        snprintf(name, sizeof(name), "old%d.test", i);
        ck_assert(put_name(name, START) && has_name(name, START));
    }
    for (int i = 0; i < 200; i++) { /* every one of them is asked for twice as well */
        snprintf(name, sizeof(name), "new%d.test", i);
        ck_assert(put_name(name, START) && has_name(name, START));
    }
    for (int i = 0; i < 64; i++) {
        snprintf(name, sizeof(name), "old%d.test", i);
        ck_assert(!has_name(name, START));
    }
}
END_TEST

/* An answer of about that many bytes. */
static bool put_large(int number, size_t size)
{
    char name[64];
    static char record[8192];
    const char *records[] = {record};
    snprintf(name, sizeof(name), "large%d.test", number);
    int n = snprintf(record, sizeof(record), "%s. 3600 IN TXT", name);
    for (size_t at = 0; at < size; at += 201)
        n += snprintf(record + n, sizeof(record) - (size_t)n, " \"%0200d\"", number);
    response(name, LDNS_RR_TYPE_TXT, records, 1, &msg);
    struct asked asked = ask(name, LDNS_RR_TYPE_TXT);
    ck_assert(put(&asked, START));
    return get(&asked, START) > 0;
}

START_TEST(bounded_by_bytes)
{
    for (int i = 0; i < 500; i++) {
        ck_assert(put_large(i, 4000));
        ck_assert_uint_le(cache_count(cache) * 4000, 64 * CACHE_BYTES_PER_ANSWER);
    }
    ck_assert_uint_ge(cache_count(cache), 2);
    ck_assert(!put_large(1000, 4200)); /* longer than any that is kept */
    for (int i = 0; i < 192; i++) {
        char name[64];
        snprintf(name, sizeof(name), "small%d.test", i);
        ck_assert(put_name(name, START) && has_name(name, START));
    }
    ck_assert_uint_eq(cache_count(cache), 64); /* nothing is lost of the memory */
}
END_TEST

START_TEST(the_longest_fits_into_the_smallest)
{
    cache_free(cache);
    ck_assert_int_eq(cache_new(1, &cache), 0);
    for (int i = 0; i < 3; i++)
        ck_assert(put_large(i, 4000));
    ck_assert_uint_eq(cache_count(cache), 1);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("cache");
    TCase *tcase = tcase_create("cache");
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_test(tcase, ttls_are_counted_down_and_end);
    tcase_add_test(tcase, the_message_comes_back_whole);
    tcase_add_test(tcase, the_key_is_what_changes_the_answer);
    tcase_add_test(tcase, nothing_is_kept_as_its_soa_record_says);
    tcase_add_test(tcase, what_is_not_kept);
    tcase_add_test(tcase, an_answer_takes_the_place_of_the_earlier_one);
    tcase_add_test(tcase, a_flood_leaves_alone_what_was_asked_for_again);
    tcase_add_test(tcase, what_nobody_asks_for_any_more_makes_room);
    tcase_add_test(tcase, bounded_by_bytes);
    tcase_add_test(tcase, the_longest_fits_into_the_smallest);
    suite_add_tcase(suite, tcase);
    return suite;
}
