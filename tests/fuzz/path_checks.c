#include "path_checks.h"

#include <ldns/ldns.h>
#include <string.h>

#define ASKED_MAX 128
#define SAID_MAX 64
#define LEARNED_MAX 4096

struct asked {
    unsigned client;
    uint8_t *msg;
    size_t len;
    enum dns_verdict verdict;
    struct dns_question question;
    struct dns_edns edns;
    bool answered;
};

struct fact {
    struct ip_addr addr;
    uint8_t name[DNS_NAME_MAX];
    size_t name_len;
};

static struct asked asked[ASKED_MAX];
static size_t n_asked;
static struct {
    uint8_t *msg;
    size_t len;
} said[SAID_MAX];
static size_t n_said;
static bool said_too_much;
static struct fact facts[LEARNED_MAX];
static size_t n_facts;
static bool too_many_facts;

void path_begin(void)
{
    for (size_t i = 0; i < n_asked; i++)
        free(asked[i].msg);
    for (size_t i = 0; i < n_said; i++)
        free(said[i].msg);
    n_asked = n_said = n_facts = 0;
    said_too_much = too_many_facts = false;
}

static uint8_t *copy(const uint8_t *msg, size_t len)
{
    uint8_t *made = malloc(len + 1);
    memcpy(made, msg, len);
    return made;
}

bool path_asked(unsigned client, const uint8_t *msg, size_t len)
{
    if (n_asked == ASKED_MAX)
        return false;
    struct asked *ask = &asked[n_asked++];
    *ask = (struct asked){.client = client, .msg = copy(msg, len), .len = len};
    ask->verdict = dns_scan_query(msg, len, &ask->question, &ask->edns);
    return true;
}

void path_said(const uint8_t *msg, size_t len)
{
    if (n_said == SAID_MAX) {
        said_too_much = true;
        return;
    }
    said[n_said].msg = copy(msg, len);
    said[n_said++].len = len;
}

void path_said_in_pieces(void)
{
    said_too_much = true;
}

/* --- what a question leads to, the slow way --- */

static bool in_set(const ldns_rdf *const set[], size_t n, const ldns_rdf *name)
{
    for (size_t i = 0; i < n; i++)
        if (!ldns_dname_compare(set[i], name))
            return true;
    return false;
}

#define CHAIN_MAX 512

/* Calls `each` for every address record of the answer section that is the name's or that of a name its CNAMEs lead to.
 * False when ldns cannot read the message. */
static bool each_led_to(const uint8_t *msg, size_t len, const uint8_t *name, size_t name_len,
                        void (*each)(void *ctx, const struct ip_addr *addr, const ldns_rr *rr), void *ctx)
{
    ldns_pkt *pkt = NULL;
    if (ldns_wire2pkt(&pkt, msg, len) != LDNS_STATUS_OK)
        return false;
    const ldns_rr_list *answer = ldns_pkt_answer(pkt);
    ldns_rdf *first = ldns_rdf_new_frm_data(LDNS_RDF_TYPE_DNAME, name_len, name);
    const ldns_rdf *set[CHAIN_MAX] = {first};
    size_t n = 1, before;
    do {
        before = n;
        for (size_t i = 0; i < ldns_rr_list_rr_count(answer) && n < CHAIN_MAX; i++) {
            const ldns_rr *rr = ldns_rr_list_rr(answer, i);
            if (ldns_rr_get_type(rr) == LDNS_RR_TYPE_CNAME && ldns_rr_rd_count(rr) == 1 &&
                in_set(set, n, ldns_rr_owner(rr)) && !in_set(set, n, ldns_rr_rdf(rr, 0)))
                set[n++] = ldns_rr_rdf(rr, 0);
        }
    } while (n != before);
    for (size_t i = 0; i < ldns_rr_list_rr_count(answer); i++) {
        const ldns_rr *rr = ldns_rr_list_rr(answer, i);
        const ldns_rdf *rdf = ldns_rr_rdf(rr, 0);
        if (ldns_rr_get_class(rr) != LDNS_RR_CLASS_IN || !rdf || !in_set(set, n, ldns_rr_owner(rr)))
            continue;
        struct ip_addr addr = {0};
        if (ldns_rr_get_type(rr) == LDNS_RR_TYPE_A && ldns_rdf_size(rdf) == 4)
            addr = ip_from_v4(ldns_rdf_data(rdf));
        else if (ldns_rr_get_type(rr) == LDNS_RR_TYPE_AAAA && ldns_rdf_size(rdf) == 16)
            addr = ip_from_v6(ldns_rdf_data(rdf));
        if (addr.family)
            each(ctx, &addr, rr);
    }
    ldns_rdf_deep_free(first);
    ldns_pkt_free(pkt);
    return true;
}

struct search {
    const struct ip_addr *addr;
    bool found;
};

static void compare(void *ctx, const struct ip_addr *addr, const ldns_rr *rr)
{
    struct search *search = ctx;
    search->found |= ip_equal(addr, search->addr);
}

/* Whether an upstream said so. What ldns cannot read must at least have the address in it. */
static bool was_said(const struct learned *learned)
{
    struct search search = {.addr = &learned->addr};
    for (size_t i = 0; i < n_said && !search.found; i++)
        if (!each_led_to(said[i].msg, said[i].len, learned->name, learned->name_len, compare, &search))
            search.found = memmem(said[i].msg, said[i].len, learned->addr.bytes, ip_size(learned->addr.family));
    return search.found || said_too_much;
}

static bool was_asked(const struct learned *learned)
{
    uint16_t type = learned->addr.family == AF_INET ? LDNS_RR_TYPE_A : LDNS_RR_TYPE_AAAA;
    for (size_t i = 0; i < n_asked; i++)
        if (asked[i].verdict == DNS_SCAN_OK && asked[i].question.type == type &&
            asked[i].question.name_len == learned->name_len &&
            !memcmp(asked[i].question.name, learned->name, learned->name_len))
            return true;
    return false;
}

void path_learned(const struct policy_layers *layers, const struct learned *learned, size_t n, bool took)
{
    for (size_t i = 0; i < n; i++) {
        struct decision decision = policy_decide_addr(layers, &learned[i].addr);
        must(was_asked(&learned[i]));
        must(was_said(&learned[i]));
        must(policy_decide(layers, learned[i].name, learned[i].name_len).action == ACTION_ALLOW);
        must(!ip_is_special(&learned[i].addr) || (decision.rule && decision.action == ACTION_ALLOW));
        if (n_facts == LEARNED_MAX) {
            too_many_facts = true;
        } else if (took) {
            struct fact *fact = &facts[n_facts++];
            *fact = (struct fact){.addr = learned[i].addr, .name_len = learned[i].name_len};
            memcpy(fact->name, learned[i].name, learned[i].name_len);
        }
    }
}

bool path_reaches(const struct ip_addr *addr)
{
    for (size_t i = 0; i < n_facts; i++)
        if (ip_equal(&facts[i].addr, addr))
            return true;
    return too_many_facts;
}

/* --- answers --- */

static void must_be_known(void *ctx, const struct ip_addr *addr, const ldns_rr *rr)
{
    const struct dns_question *question = ctx;
    /* What nobody asked for is not used, and not learned. */
    bool known = too_many_facts || (addr->family == AF_INET) != (question->type == LDNS_RR_TYPE_A);
    for (size_t i = 0; i < n_facts && !known; i++)
        known = ip_equal(&facts[i].addr, addr) && facts[i].name_len == question->name_len &&
                !memcmp(facts[i].name, question->name, question->name_len);
    must(known);
    must(ldns_rr_ttl(rr) <= PATH_TTL_MAX || ldns_rr_ttl(rr) > INT32_MAX);
}

static void pass(void *ctx, const struct ip_addr *addr)
{
}

static void check_addresses(const struct dns_question *question, const uint8_t *msg, size_t len)
{
    uint16_t wanted = question->type;
    if ((wanted != LDNS_RR_TYPE_A && wanted != LDNS_RR_TYPE_AAAA) || LDNS_RCODE_WIRE(msg) != LDNS_RCODE_NOERROR ||
        LDNS_TC_WIRE(msg))
        return;
    must(dns_answer_each_address(msg, len, question->end, pass, NULL) == 0);
    struct dns_found *found = calloc(dns_found_max(len) + 1, sizeof(*found));
    size_t n;
    must(dns_answer_addresses(msg, len, question, found, &n) == 0);
    free(found);
    ldns_pkt *pkt = NULL;
    if (n && ldns_wire2pkt(&pkt, msg, len) == LDNS_STATUS_OK) {
        ldns_pkt_free(pkt);
        each_led_to(msg, len, question->name, question->name_len, must_be_known, (void *)(uintptr_t)question);
    }
}

static bool is_answer_to(const struct asked *ask, unsigned client, const uint8_t *msg, size_t len)
{
    if (ask->answered || ask->client != client || ask->len < DNS_HEADER_SIZE || memcmp(ask->msg, msg, 2) != 0)
        return false;
    if (ask->verdict != DNS_SCAN_OK)
        return len == DNS_HEADER_SIZE && LDNS_RCODE_WIRE(msg) != LDNS_RCODE_NOERROR;
    return len >= ask->question.end && LDNS_QDCOUNT(msg) == 1 &&
           !memcmp(msg + DNS_HEADER_SIZE, ask->msg + DNS_HEADER_SIZE, ask->question.end - DNS_HEADER_SIZE);
}

void path_answered(unsigned client, const uint8_t *msg, size_t len)
{
    must(len >= DNS_HEADER_SIZE && LDNS_QR_WIRE(msg));
    size_t i = 0;
    while (i < n_asked && !is_answer_to(&asked[i], client, msg, len))
        i++;
    must(i < n_asked);
    asked[i].answered = true;
    if (asked[i].verdict != DNS_SCAN_OK)
        return;
    size_t room =
        asked[i].edns.present && asked[i].edns.payload > DNS_UDP_PLAIN_MAX ? asked[i].edns.payload : DNS_UDP_PLAIN_MAX;
    must(client || len <= room);
    ldns_pkt *pkt = NULL;
    bool readable = ldns_wire2pkt(&pkt, msg, len) == LDNS_STATUS_OK;
    if (readable)
        ldns_pkt_free(pkt);
    must(readable || n_said); /* what we write ourselves is readable; what upstreams say is passed on as it is */
    check_addresses(&asked[i].question, msg, len);
}
