#include "dns/reply.h"

#include "base/wire.h"

#include <string.h>

static void write_header(uint8_t *reply, const uint8_t *query, unsigned rcode, unsigned questions)
{
    memset(reply, 0, DNS_HEADER_SIZE);
    reply[0] = query[0];
    reply[1] = query[1];
    reply[2] = LDNS_QR_MASK | (query[2] & (LDNS_OPCODE_MASK | LDNS_RD_MASK));
    reply[3] = (uint8_t)(LDNS_RA_MASK | (query[3] & LDNS_CD_MASK) | (rcode & LDNS_RCODE_MASK));
    wire_store16(reply + 4, (uint16_t)questions);
}

size_t dns_reply_header(const uint8_t *query, unsigned rcode, uint8_t ret_reply[DNS_REPLY_MAX])
{
    write_header(ret_reply, query, rcode, 0);
    return DNS_HEADER_SIZE;
}

static size_t write_opt(uint8_t *at, const struct dns_edns *edns, unsigned rcode, int ede, const char *text)
{
    size_t text_len = text ? strlen(text) : 0;
    size_t options = ede == DNS_EDE_NONE ? 0 : 6 + text_len;
    dns_write_opt(at, edns->dnssec_ok);
    at[5] = (uint8_t)(rcode >> 4);
    wire_store16(at + 9, (uint16_t)options);
    if (options) {
        wire_store16(at + 11, LDNS_EDNS_EDE);
        wire_store16(at + 13, (uint16_t)(2 + text_len));
        wire_store16(at + 15, (uint16_t)ede);
        memcpy(at + 17, text ? text : "", text_len);
    }
    return DNS_OPT_SIZE + options;
}

size_t dns_reply_empty(const uint8_t *query, size_t question_end, const struct dns_edns *edns, unsigned rcode, int ede,
                       const char *text, uint8_t ret_reply[DNS_REPLY_MAX])
{
    write_header(ret_reply, query, rcode, 1);
    memcpy(ret_reply + DNS_HEADER_SIZE, query + DNS_HEADER_SIZE, question_end - DNS_HEADER_SIZE);
    if (!edns->present)
        return question_end;
    wire_store16(ret_reply + 10, 1);
    return question_end + write_opt(ret_reply + question_end, edns, rcode, ede, text);
}

size_t dns_reply_truncate(uint8_t *response, size_t question_end, const struct dns_edns *edns)
{
    response[2] |= LDNS_TC_MASK;
    memset(response + 6, 0, 6);
    if (!edns->present)
        return question_end;
    wire_store16(response + 10, 1);
    return question_end + write_opt(response + question_end, edns, LDNS_RCODE_WIRE(response), DNS_EDE_NONE, NULL);
}

size_t dns_reply_addresses(uint8_t *response, size_t len, size_t question_end, const struct dns_edns *edns,
                           struct dns_found *found, size_t *n)
{
    size_t at = question_end, opt = edns->present ? DNS_OPT_SIZE : 0, fit = 0;
    for (; fit < *n; fit++) {
        struct dns_found *one = &found[fit];
        size_t size = ip_size(one->addr.family);
        if (at + 12 + size + opt > len)
            break;
        wire_store16(response + at, 0xC000 | DNS_HEADER_SIZE); /* owner: the question's name */
        wire_store16(response + at + 2, size == 4 ? LDNS_RR_TYPE_A : LDNS_RR_TYPE_AAAA);
        wire_store16(response + at + 4, LDNS_RR_CLASS_IN);
        wire_store32(response + at + 6, one->ttl < one->chain_ttl ? one->ttl : one->chain_ttl);
        wire_store16(response + at + 10, (uint16_t)size);
        memcpy(response + at + 12, one->addr.bytes, size);
        one->ttl_at = (uint16_t)(at + 6);
        at += 12 + size;
    }
    *n = fit;
    response[3] &= (uint8_t)~LDNS_AD_MASK; /* what was signed is not this */
    wire_store16(response + 6, (uint16_t)fit);
    memset(response + 8, 0, 4);
    if (!edns->present)
        return at;
    wire_store16(response + 10, 1);
    return at + write_opt(response + at, edns, LDNS_RCODE_NOERROR, DNS_EDE_NONE, NULL);
}
