/* An upstream's message: addresses are read only from inside it, and where ldns can read it, they are in its answer
 * section; what is written anew from it is shorter and readable. */
#include "dns/answer.h"
#include "dns/reply.h"

#include "fuzz.h"

#include <ldns/ldns.h>
#include <string.h>

static const uint8_t query[] = "\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\1a\7example\0\0\1\0\1";

static void count_address(void *ctx, const struct ip_addr *addr)
{
    ++*(size_t *)ctx;
}

static bool in_answer_section(const ldns_pkt *pkt, const struct dns_found *found, const uint8_t *data)
{
    const ldns_rr_list *answer = ldns_pkt_answer(pkt);
    for (size_t i = 0; i < ldns_rr_list_rr_count(answer); i++) {
        const ldns_rr *rr = ldns_rr_list_rr(answer, i);
        const ldns_rdf *rdf = ldns_rr_rdf(rr, 0);
        if (ldns_rr_get_type(rr) == LDNS_RR_TYPE_A && rdf && ldns_rdf_size(rdf) == 4 &&
            !memcmp(ldns_rdf_data(rdf), data + found->ttl_at + 6, 4))
            return true;
    }
    return false;
}

/* Behind the name at `at`; beyond the message when it has no end. */
static size_t name_end(const uint8_t *data, size_t len, size_t at)
{
    while (at < len && data[at] && data[at] < 0xc0)
        at += 1u + data[at];
    return at + (at < len && data[at] ? 2 : 1);
}

static unsigned load16(const uint8_t *at)
{
    return (unsigned)(at[0] << 8 | at[1]);
}

/* ldns goes by what it finds in a record's data, not by its length: odd lengths lead it elsewhere, and what other types
 * consist of is its own matter. */
static bool comparable(const uint8_t *data, size_t len, size_t question_end)
{
    size_t at = question_end;
    for (unsigned left = load16(data + 6); left > 0; left--) {
        at = name_end(data, len, at);
        if (at + 10 > len)
            return false;
        unsigned type = load16(data + at), size = load16(data + at + 8);
        at += 10;
        if (type == LDNS_RR_TYPE_A ? size != 4 : type != LDNS_RR_TYPE_CNAME || name_end(data, len, at) != at + size)
            return false;
        at += size;
    }
    return true;
}

static void rewrite(const uint8_t *data, size_t len, size_t question_end, struct dns_found *found, size_t n)
{
    uint8_t *copy = malloc(len < DNS_REPLY_MAX ? DNS_REPLY_MAX : len);
    memcpy(copy, data, len);
    struct dns_edns edns = {.present = true, .payload = 1232};
    size_t before = n, made = dns_reply_addresses(copy, len, question_end, &edns, found, &n);
    must(made <= len && n <= before);
    ldns_pkt *pkt = NULL;
    if (ldns_wire2pkt(&pkt, copy, made) == LDNS_STATUS_OK) {
        must(ldns_rr_list_rr_count(ldns_pkt_answer(pkt)) == n);
        ldns_pkt_free(pkt);
    }
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct dns_question question;
    struct dns_edns edns;
    must(dns_scan_query(query, sizeof(query) - 1, &question, &edns) == DNS_SCAN_OK);
    if (len > DNS_MESSAGE_MAX || !dns_answers(data, len, query, question.end) || len < question.end)
        return 0;
    size_t addresses = 0;
    dns_answer_each_address(data, len, question.end, count_address, &addresses);
    struct dns_found *found = calloc(dns_found_max(len) + 1, sizeof(*found));
    size_t n;
    if (dns_answer_addresses(data, len, &question, found, &n) == 0) {
        must(n <= dns_found_max(len));
        ldns_pkt *pkt = NULL;
        bool readable = ldns_wire2pkt(&pkt, data, len) == LDNS_STATUS_OK;
        bool is_comparable = readable && comparable(data, len, question.end);
        for (size_t i = 0; i < n; i++) {
            must(found[i].ttl_at + 4u <= len);
            must(!is_comparable || in_answer_section(pkt, &found[i], data));
        }
        if (readable)
            ldns_pkt_free(pkt);
        if (n)
            rewrite(data, len, question.end, found, n);
    }
    free(found);
    return 0;
}
