#include "dns/message.h"

#include "base/wire.h"

#include <string.h>

#define POINTERS_MAX 16 /* in one name; compressors need one or two, thousands would cost a second */

void dns_lower(uint8_t *to, const uint8_t *from, size_t len)
{
    size_t i = 0;
    for (uint64_t word; i + sizeof(word) <= len; i += sizeof(word)) {
        memcpy(&word, from + i, sizeof(word));
        word |= dns_letters(word, 'A', 'Z', 0);
        memcpy(to + i, &word, sizeof(word));
    }
    for (; i < len; i++) {
        uint8_t c = from[i];
        to[i] = (uint8_t)(c | ((uint8_t)(c - 'A') < 26) << 5);
    }
}

/* Skips a name; one that ends in a compression pointer is skipped up to its pointer's end. */
static void skip_name(struct wire *wire)
{
    for (;;) {
        uint8_t label = wire_u8(wire);
        if (wire->failed || !label)
            return;
        if (label >= 0xC0) {
            wire_take(wire, 1);
            return;
        }
        if (label > 63)
            wire->failed = true; /* 0x40 and 0x80: no such label types (RFC 6891 section 5) */
        wire_take(wire, label);
    }
}

/* Length of the uncompressed name at the cursor, which moves behind it. */
static size_t plain_name(struct wire *wire)
{
    const uint8_t *start = wire->at;
    for (;;) {
        uint8_t label = wire_u8(wire);
        wire_take(wire, label);
        if (label > 63 || wire->at - start > DNS_NAME_MAX)
            wire->failed = true;
        if (wire->failed || !label)
            return (size_t)(wire->at - start);
    }
}

static bool scan_options(const uint8_t *rdata, size_t len)
{
    struct wire wire = wire_init(rdata, len);
    while (!wire.failed && wire_left(&wire)) {
        wire_take(&wire, 2);
        wire_take(&wire, wire_u16(&wire));
    }
    return !wire.failed;
}

void dns_write_opt(uint8_t ret_record[DNS_OPT_SIZE], bool dnssec_ok)
{
    ret_record[0] = 0; /* owner: the root */
    wire_store16(ret_record + 1, LDNS_RR_TYPE_OPT);
    wire_store16(ret_record + 3, DNS_UDP_EDNS_MAX);
    wire_store32(ret_record + 5, dnssec_ok ? 0x8000u : 0);
    wire_store16(ret_record + 9, 0);
}

/* Reads what follows the question: nothing, or one OPT record owned by the root (RFC 6891 section 6.1.1). A stub sends
 * nothing else, and a signature (TSIG, SIG(0)) would not survive forwarding. */
static bool scan_additional(const uint8_t *msg, size_t len, size_t at, unsigned count, struct dns_edns *ret)
{
    struct dns_edns edns = {0};
    struct dns_rr rr;
    if (count) {
        if (count > 1 || !dns_rr_at(msg, len, at, &rr) || rr.type != LDNS_RR_TYPE_OPT || msg[rr.owner] != 0 ||
            !scan_options(msg + rr.rdata, rr.rdlen))
            return false;
        edns = (struct dns_edns){
            .present = true,
            .version = msg[rr.ttl_at + 1],
            .dnssec_ok = msg[rr.ttl_at + 2] & 0x80,
            .payload = rr.klass,
        };
        at = rr.end;
    }
    if (at != len)
        return false;
    *ret = edns;
    return true;
}

enum dns_verdict dns_scan_query(const uint8_t *msg, size_t len, struct dns_question *ret_question,
                                struct dns_edns *ret_edns)
{
    if (len < DNS_HEADER_SIZE || len > DNS_MESSAGE_MAX || LDNS_QR_WIRE(msg))
        return DNS_SCAN_DROP;
    if (LDNS_OPCODE_WIRE(msg) != LDNS_PACKET_QUERY)
        return DNS_SCAN_NOTIMP;
    if (LDNS_QDCOUNT(msg) != 1 || LDNS_ANCOUNT(msg) || LDNS_NSCOUNT(msg))
        return DNS_SCAN_FORMERR;
    struct wire wire = wire_init(msg + DNS_HEADER_SIZE, len - DNS_HEADER_SIZE);
    const uint8_t *name = wire.at;
    size_t name_len = plain_name(&wire);
    uint16_t type = wire_u16(&wire), klass = wire_u16(&wire);
    if (wire.failed)
        return DNS_SCAN_FORMERR;
    size_t end = (size_t)(wire.at - msg);
    struct dns_edns edns;
    if (!scan_additional(msg, len, end, LDNS_ARCOUNT(msg), &edns))
        return DNS_SCAN_FORMERR;
    if (klass != LDNS_RR_CLASS_IN)
        return DNS_SCAN_REFUSED;
    dns_lower(ret_question->name, name, name_len);
    ret_question->name_len = (uint8_t)name_len;
    ret_question->type = type;
    ret_question->end = (uint16_t)end;
    *ret_edns = edns;
    return DNS_SCAN_OK;
}

static enum dns_match compare_questions(const uint8_t *a, const uint8_t *b, size_t len)
{
    if (!memcmp(a, b, len))
        return DNS_ANSWER;
    uint8_t lower_a[DNS_NAME_MAX + 4], lower_b[DNS_NAME_MAX + 4];
    size_t name = len - 4;
    dns_lower(lower_a, a, name);
    dns_lower(lower_b, b, name);
    return memcmp(lower_a, lower_b, name) || memcmp(a + name, b + name, 4) ? DNS_NO_ANSWER : DNS_ANSWER_RESPELLED;
}

enum dns_match dns_answers(const uint8_t *msg, size_t len, const uint8_t *sent, size_t question_end)
{
    if (len < DNS_HEADER_SIZE || !LDNS_QR_WIRE(msg) || LDNS_OPCODE_WIRE(msg) != LDNS_PACKET_QUERY ||
        LDNS_ID_WIRE(msg) != LDNS_ID_WIRE(sent))
        return DNS_NO_ANSWER;
    unsigned questions = LDNS_QDCOUNT(msg), rcode = LDNS_RCODE_WIRE(msg);
    if (questions == 0 && rcode != LDNS_RCODE_NOERROR && rcode != LDNS_RCODE_NXDOMAIN && !LDNS_ANCOUNT(msg))
        return DNS_ANSWER;
    if (questions != 1 || len < question_end)
        return DNS_NO_ANSWER;
    return compare_questions(msg + DNS_HEADER_SIZE, sent + DNS_HEADER_SIZE, question_end - DNS_HEADER_SIZE);
}

/* Readers that go by the name's own end and readers that go by the length must find the same next record. */
static bool is_one_name(const uint8_t *rdata, size_t len)
{
    struct wire wire = wire_init(rdata, len);
    skip_name(&wire);
    return !wire.failed && wire.at == rdata + len;
}

bool dns_rr_at(const uint8_t *msg, size_t len, size_t at, struct dns_rr *ret)
{
    if (at > len)
        return false;
    struct wire wire = wire_init(msg + at, len - at);
    skip_name(&wire);
    struct dns_rr rr = {.owner = (uint16_t)at};
    rr.type = wire_u16(&wire);
    rr.klass = wire_u16(&wire);
    rr.ttl_at = (uint16_t)(wire.at - msg);
    rr.ttl = wire_u32(&wire);
    rr.rdlen = wire_u16(&wire);
    rr.rdata = (uint16_t)(wire.at - msg);
    wire_take(&wire, rr.rdlen);
    if (wire.failed || (rr.type == LDNS_RR_TYPE_CNAME && !is_one_name(msg + rr.rdata, rr.rdlen)))
        return false;
    rr.end = (uint16_t)(wire.at - msg);
    if (rr.ttl & 0x80000000u)
        rr.ttl = 0;
    *ret = rr;
    return true;
}

size_t dns_name_at(const uint8_t *msg, size_t len, size_t at, uint8_t ret_name[DNS_NAME_MAX])
{
    size_t used = 0, limit = at; /* each pointer must lead below every earlier one: no loops */
    unsigned pointers = 0;
    for (;;) {
        if (at >= len)
            return 0;
        uint8_t label = msg[at];
        if (label >= 0xC0) {
            if (at + 1 >= len)
                return 0;
            size_t target = (size_t)(label & 0x3f) << 8 | msg[at + 1];
            if (target >= limit || target < DNS_HEADER_SIZE || ++pointers > POINTERS_MAX)
                return 0;
            at = limit = target;
            continue;
        }
        if (label > 63 || at + 1 + label > len || used + 1 + label > DNS_NAME_MAX)
            return 0;
        dns_lower(ret_name + used, msg + at, 1u + label);
        used += 1u + label;
        at += 1u + label;
        if (!label)
            return used;
    }
}
