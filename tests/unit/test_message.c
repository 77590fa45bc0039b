/* The scanner against hand-made traps, and against ldns on mutated messages: whatever ours accepts, ldns reads alike.
 */
#include "dns/message.h"

#include "dns_wire.h"
#include "random.h"
#include "runner.h"

static struct wire_message msg;

static enum dns_verdict scan(struct dns_question *question, struct dns_edns *edns)
{
    /* On the heap in its exact size, so that a sanitizer sees every byte read too far. */
    uint8_t *exact = malloc(msg.len ? msg.len : 1);
    memcpy(exact, msg.data, msg.len);
    enum dns_verdict verdict = dns_scan_query(exact, msg.len, question, edns);
    free(exact);
    return verdict;
}

static enum dns_verdict scan_only(void)
{
    struct dns_question question;
    struct dns_edns edns;
    return scan(&question, &edns);
}

START_TEST(reads_a_plain_query)
{
    wire_from_pkt(query_pkt("WwW.Example.ORG", LDNS_RR_TYPE_AAAA), &msg);
    struct dns_question question;
    struct dns_edns edns;
    ck_assert_int_eq(scan(&question, &edns), DNS_SCAN_OK);
    ck_assert_uint_eq(question.name_len, 17);
    ck_assert_mem_eq(question.name, "\3www\7example\3org", 17);
    ck_assert_uint_eq(question.type, LDNS_RR_TYPE_AAAA);
    ck_assert_uint_eq(question.end, msg.len);
    ck_assert(!edns.present);
}
END_TEST

START_TEST(reads_edns)
{
    ldns_pkt *pkt = query_pkt("example.org", LDNS_RR_TYPE_A);
    ldns_pkt_set_edns_udp_size(pkt, 4096);
    ldns_pkt_set_edns_do(pkt, true);
    wire_from_pkt(pkt, &msg);
    struct dns_question question;
    struct dns_edns edns;
    ck_assert_int_eq(scan(&question, &edns), DNS_SCAN_OK);
    ck_assert(edns.present && edns.dnssec_ok);
    ck_assert_uint_eq(edns.version, 0);
    ck_assert_uint_eq(edns.payload, 4096);
}
END_TEST

START_TEST(names_up_to_255_octets)
{
    msg.len = 12;
    memset(msg.data, 0, 12);
    msg.data[5] = 1;
    for (int label = 0; label < 4; label++) {
        uint8_t len = label < 3 ? 63 : 61;
        msg.data[msg.len++] = len;
        memset(msg.data + msg.len, 'a', len);
        msg.len += len;
    }
    memcpy(msg.data + msg.len, "\0\0\1\0\1", 5);
    msg.len += 5;
    struct dns_question question;
    struct dns_edns edns;
    ck_assert_int_eq(scan(&question, &edns), DNS_SCAN_OK);
    ck_assert_uint_eq(question.name_len, 255);
    /* One octet more in the last label. */
    msg.data[12 + 3 * 64] = 62;
    memmove(msg.data + 12 + 3 * 64 + 2, msg.data + 12 + 3 * 64 + 1, msg.len - (12 + 3 * 64 + 1));
    msg.len++;
    ck_assert_int_eq(scan_only(), DNS_SCAN_FORMERR);
}
END_TEST

START_TEST(refuses_what_is_no_single_question)
{
    wire_from_pkt(query_pkt("example.org", LDNS_RR_TYPE_A), &msg);
    struct wire_message good = msg;
    for (size_t len = 0; len < good.len; len++) {
        msg.len = len;
        ck_assert_int_eq(scan_only(), len < 12 ? DNS_SCAN_DROP : DNS_SCAN_FORMERR);
    }
    msg = good;
    msg.data[2] |= 0x80;
    ck_assert_int_eq(scan_only(), DNS_SCAN_DROP); /* a response: answering it could start a loop */
    msg = good;
    msg.data[2] |= 0x28; /* UPDATE */
    ck_assert_int_eq(scan_only(), DNS_SCAN_NOTIMP);
    for (size_t at = 4; at < 12; at += 2) { /* each count, raised by one */
        msg = good;
        msg.data[at + 1]++;
        ck_assert_int_eq(scan_only(), DNS_SCAN_FORMERR);
    }
    msg = good;
    msg.data[5] = 0;
    ck_assert_int_eq(scan_only(), DNS_SCAN_FORMERR);
    msg = good;
    msg.data[msg.len++] = 0; /* trailing octet */
    ck_assert_int_eq(scan_only(), DNS_SCAN_FORMERR);
    msg = good;
    msg.data[msg.len - 1] = 3; /* class CHAOS */
    ck_assert_int_eq(scan_only(), DNS_SCAN_REFUSED);
}
END_TEST

START_TEST(refuses_odd_names)
{
    static const struct {
        const char *name;
        size_t len;
    } names[] = {
        {"\xC0\x0C", 2},      /* a pointer to itself */
        {"\3abc\xC0\x0C", 6}, /* a pointer behind a label */
        {"\x40\0", 2},        /* a label type that never was */
        {"\x80\0", 2},
        {"\x3F"
         "abc\0",
         5}, /* a label that runs out of the message */
    };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        memset(msg.data, 0, 12);
        msg.data[5] = 1;
        memcpy(msg.data + 12, names[i].name, names[i].len);
        memcpy(msg.data + 12 + names[i].len, "\0\1\0\1", 4);
        msg.len = 12 + names[i].len + 4;
        ck_assert_int_eq(scan_only(), DNS_SCAN_FORMERR);
    }
}
END_TEST

START_TEST(refuses_two_opt_records_and_one_that_is_owned)
{
    ldns_pkt *pkt = query_pkt("example.org", LDNS_RR_TYPE_A);
    ldns_pkt_set_edns_udp_size(pkt, 1232);
    wire_from_pkt(pkt, &msg);
    struct wire_message one = msg;
    memcpy(msg.data + msg.len, msg.data + msg.len - 11, 11);
    msg.len += 11;
    msg.data[11] = 2;
    ck_assert_int_eq(scan_only(), DNS_SCAN_FORMERR);
    msg = one;
    memmove(msg.data + msg.len - 10, msg.data + msg.len - 11, 11);
    msg.len++;
    memcpy(msg.data + msg.len - 12, "\1a", 2);
    memmove(msg.data + msg.len - 9, msg.data + msg.len - 10, 10);
    msg.data[msg.len - 10] = 0;
    ck_assert_int_eq(scan_only(), DNS_SCAN_FORMERR);
}
END_TEST

START_TEST(answers_must_match_id_and_question)
{
    struct wire_message sent;
    wire_from_pkt(query_pkt("example.org", LDNS_RR_TYPE_A), &sent);
    const char *records[] = {"example.org. 60 IN A 192.0.2.1"};
    response("EXAMPLE.org", LDNS_RR_TYPE_A, records, 1, &msg);
    ck_assert(dns_answers(msg.data, msg.len, sent.data, sent.len));
    struct wire_message good = msg;
    msg.data[1] ^= 1;
    ck_assert(!dns_answers(msg.data, msg.len, sent.data, sent.len)); /* another id */
    msg = good;
    msg.data[13] ^= 1;
    ck_assert(!dns_answers(msg.data, msg.len, sent.data, sent.len)); /* another name */
    msg = good;
    msg.data[sent.len - 3] = LDNS_RR_TYPE_MX;
    ck_assert(!dns_answers(msg.data, msg.len, sent.data, sent.len)); /* another type */
    msg = good;
    msg.data[2] &= 0x7f;
    ck_assert(!dns_answers(msg.data, msg.len, sent.data, sent.len)); /* no response */
    msg = good;
    msg.data[5] = 2;
    ck_assert(!dns_answers(msg.data, msg.len, sent.data, sent.len)); /* two questions */
    msg = good;
    ck_assert(!dns_answers(msg.data, sent.len - 1, sent.data, sent.len)); /* cut */
    msg.data[5] = 0;
    ck_assert(!dns_answers(msg.data, msg.len, sent.data, sent.len)); /* no question, yet no error */
    msg.data[3] |= LDNS_RCODE_REFUSED;
    ck_assert(!dns_answers(msg.data, msg.len, sent.data, sent.len)); /* an answer to what? */
    msg.data[7] = 0;
    ck_assert(dns_answers(msg.data, msg.len, sent.data, sent.len));
}
END_TEST

START_TEST(expands_names_and_survives_loops)
{
    uint8_t data[] = "............\3Foo\0\1a\xC0\x0C\xC0\x17\xC0\x11";
    uint8_t name[DNS_NAME_MAX];
    size_t len = sizeof(data) - 1;
    ck_assert_uint_eq(dns_name_at(data, len, 17, name), 7);
    ck_assert_mem_eq(name, "\1a\3foo", 7);
    ck_assert_uint_eq(dns_name_at(data, len, 21, name), 0); /* a pointer forward */
    data[20] = 0x13;                                        /* now "a" points behind itself */
    ck_assert_uint_eq(dns_name_at(data, len, 17, name), 0);
    data[20] = 0x11; /* at itself */
    ck_assert_uint_eq(dns_name_at(data, len, 17, name), 0);
    data[20] = 0x05; /* into the header */
    ck_assert_uint_eq(dns_name_at(data, len, 17, name), 0);
    ck_assert_uint_eq(dns_name_at(data, len, len, name), 0);
}
END_TEST

/* One random change: a byte set, a bit flipped, a piece cut off, a byte put in. */
static void mutate(struct random *random, struct wire_message *m)
{
    size_t at = random_below(random, (unsigned)m->len);
    switch (random_below(random, 5)) {
    case 0:
        m->data[at] = (uint8_t)random_below(random, 256);
        break;
    case 1:
        m->data[at] ^= (uint8_t)(1u << random_below(random, 8));
        break;
    case 2:
        if (at > 12)
            m->len = at;
        break;
    case 3:
        memmove(m->data + at + 1, m->data + at, m->len - at);
        m->data[at] = (uint8_t)random_below(random, 256);
        m->len++;
        break;
    default: /* left as it is */
        break;
    }
}

static void compare_with_ldns(uint64_t seed)
{
    struct dns_question question;
    struct dns_edns edns;
    if (scan(&question, &edns) != DNS_SCAN_OK)
        return;
    ldns_pkt *pkt = NULL;
    ck_assert_msg(ldns_wire2pkt(&pkt, msg.data, msg.len) == LDNS_STATUS_OK, "ldns refuses what we take; TEST_SEED=%lu",
                  (unsigned long)seed);
    const ldns_rr *rr = ldns_rr_list_rr(ldns_pkt_question(pkt), 0);
    ck_assert_uint_eq(ldns_rr_list_rr_count(ldns_pkt_question(pkt)), 1);
    ldns_rdf *owner = ldns_rdf_clone(ldns_rr_owner(rr));
    ldns_dname2canonical(owner);
    ck_assert_msg(ldns_rdf_size(owner) == question.name_len &&
                      !memcmp(ldns_rdf_data(owner), question.name, question.name_len),
                  "another name than ldns; TEST_SEED=%lu", (unsigned long)seed);
    ck_assert_uint_eq(ldns_rr_get_type(rr), question.type);
    ck_assert_uint_eq(ldns_rr_get_class(rr), LDNS_RR_CLASS_IN);
    ck_assert(ldns_pkt_edns(pkt) == edns.present);
    if (edns.present) {
        ck_assert_uint_eq(ldns_pkt_edns_udp_size(pkt), edns.payload);
        ck_assert_uint_eq(ldns_pkt_edns_version(pkt), edns.version);
        ck_assert(!!(ldns_pkt_edns_z(pkt) & 0x8000) == edns.dnssec_ok);
    }
    ldns_rdf_deep_free(owner);
    ldns_pkt_free(pkt);
}

START_TEST(agrees_with_ldns_on_mutated_queries)
{
    struct random random = random_new();
    static const char *const names[] = {"a.b", "example.org", "x-y.z_w.example.test", ".", "Xn--Bcher-Kva.Example"};
    for (int round = 0; round < 40000; round++) {
        ldns_pkt *pkt = query_pkt(names[random_below(&random, 5)], (ldns_rr_type)(1 + random_below(&random, 60)));
        if (random_below(&random, 2)) {
            ldns_pkt_set_edns_udp_size(pkt, (uint16_t)(512 + random_below(&random, 4096)));
            ldns_pkt_set_edns_do(pkt, random_below(&random, 2));
        }
        wire_from_pkt(pkt, &msg);
        for (unsigned n = random_below(&random, 4); n; n--)
            mutate(&random, &msg);
        compare_with_ldns(random.seed);
    }
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("message");
    TCase *tcase = tcase_create("scan");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, reads_a_plain_query);
    tcase_add_test(tcase, reads_edns);
    tcase_add_test(tcase, names_up_to_255_octets);
    tcase_add_test(tcase, refuses_what_is_no_single_question);
    tcase_add_test(tcase, refuses_odd_names);
    tcase_add_test(tcase, refuses_two_opt_records_and_one_that_is_owned);
    tcase_add_test(tcase, answers_must_match_id_and_question);
    tcase_add_test(tcase, expands_names_and_survives_loops);
    tcase_add_test(tcase, agrees_with_ldns_on_mutated_queries);
    suite_add_tcase(suite, tcase);
    return suite;
}
