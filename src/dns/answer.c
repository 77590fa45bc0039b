#include "dns/answer.h"

#include "base/wire.h"

#include <errno.h>
#include <string.h>

#define CHAIN_MAX 16 /* links of a CNAME chain; resolvers give up at 8 to 16 */

struct chain {
    uint8_t name[DNS_NAME_MAX]; /* what an address must be owned by */
    size_t len;
    unsigned links;
    uint32_t ttl; /* the least of the links */
};

static bool owned_by(const uint8_t *msg, size_t len, size_t owner, const struct chain *chain)
{
    /* Nearly every owner is a pointer to the question. */
    if (!chain->links && msg[owner] == 0xC0 && msg[owner + 1] == DNS_HEADER_SIZE)
        return true;
    uint8_t name[DNS_NAME_MAX];
    size_t name_len = dns_name_at(msg, len, owner, name);
    return name_len == chain->len && !memcmp(name, chain->name, name_len);
}

static bool follow(const uint8_t *msg, const struct dns_rr *rr, struct chain *chain)
{
    uint8_t target[DNS_NAME_MAX];
    size_t target_len = dns_name_at(msg, rr->end, rr->rdata, target);
    if (!target_len || ++chain->links > CHAIN_MAX)
        return false;
    memcpy(chain->name, target, target_len);
    chain->len = target_len;
    chain->ttl = rr->ttl < chain->ttl ? rr->ttl : chain->ttl;
    return true;
}

int dns_answer_addresses(const uint8_t *msg, size_t len, const struct dns_question *question, struct dns_found *ret,
                         size_t *ret_n)
{
    unsigned count = LDNS_ANCOUNT(msg);
    bool v4 = question->type == LDNS_RR_TYPE_A;
    struct chain chain = {.len = question->name_len, .ttl = UINT32_MAX};
    memcpy(chain.name, question->name, question->name_len);
    size_t n;
    bool moved;
    do { /* once more after a link was followed: records may stand before the CNAME that leads to them */
        size_t at = question->end;
        n = 0;
        moved = false;
        for (unsigned i = 0; i < count; i++) {
            struct dns_rr rr;
            if (!dns_rr_at(msg, len, at, &rr))
                return -EBADMSG;
            at = rr.end;
            if (rr.klass != LDNS_RR_CLASS_IN || (rr.type != question->type && rr.type != LDNS_RR_TYPE_CNAME) ||
                !owned_by(msg, len, rr.owner, &chain))
                continue;
            if (rr.type == LDNS_RR_TYPE_CNAME && question->type != LDNS_RR_TYPE_CNAME) {
                if (!follow(msg, &rr, &chain))
                    return -EBADMSG;
                moved = true;
            } else if (rr.type == question->type && rr.rdlen == (v4 ? 4 : 16) && (v4 || rr.type == LDNS_RR_TYPE_AAAA)) {
                ret[n++] = (struct dns_found){
                    .addr = v4 ? ip_from_v4(msg + rr.rdata) : ip_from_v6(msg + rr.rdata),
                    .ttl = rr.ttl,
                    .ttl_at = rr.ttl_at,
                    .chain_ttl = chain.ttl,
                };
            }
        }
    } while (moved);
    *ret_n = n;
    return 0;
}

struct address_taker {
    void (*each)(void *ctx, const struct ip_addr *addr);
    void *ctx;
};

enum { SVCB_IPV4_HINT = 4, SVCB_IPV6_HINT = 6 };

/* Parameters behind priority and target. */
static bool take_hints(const uint8_t *rdata, size_t len, const struct address_taker *taker)
{
    struct wire wire = wire_init(rdata, len);
    wire_take(&wire, 2);
    for (uint8_t label; (label = wire_u8(&wire));) /* not compressed (RFC 9460 section 2.2) */
        wire_take(&wire, label);
    while (!wire.failed && wire_left(&wire)) {
        uint16_t key = wire_u16(&wire), size = wire_u16(&wire);
        const uint8_t *value = wire_take(&wire, size);
        size_t each = key == SVCB_IPV4_HINT ? 4 : key == SVCB_IPV6_HINT ? 16 : 0;
        if (!value || (each && size % each))
            return false;
        for (size_t i = 0; each && i < size; i += each) {
            struct ip_addr addr = each == 4 ? ip_from_v4(value + i) : ip_from_v6(value + i);
            taker->each(taker->ctx, &addr);
        }
    }
    return !wire.failed;
}

static bool take_addresses(const uint8_t *msg, const struct dns_rr *rr, const struct address_taker *taker)
{
    const uint8_t *rdata = msg + rr->rdata;
    struct ip_addr addr;
    if (rr->type == LDNS_RR_TYPE_SVCB || rr->type == LDNS_RR_TYPE_HTTPS)
        return take_hints(rdata, rr->rdlen, taker);
    if (rr->type == LDNS_RR_TYPE_A && rr->rdlen == 4)
        addr = ip_from_v4(rdata);
    else if (rr->type == LDNS_RR_TYPE_AAAA && rr->rdlen == 16)
        addr = ip_from_v6(rdata);
    else if (rr->type == LDNS_RR_TYPE_A6 && rr->rdlen >= 17 && rdata[0] == 0) /* whole (RFC 2874 section 3.1.1) */
        addr = ip_from_v6(rdata + 1);
    else
        return true;
    taker->each(taker->ctx, &addr);
    return true;
}

int dns_answer_each_address(const uint8_t *msg, size_t len, size_t question_end,
                            void (*each)(void *ctx, const struct ip_addr *addr), void *ctx)
{
    struct address_taker taker = {each, ctx};
    unsigned count = (unsigned)LDNS_ANCOUNT(msg) + LDNS_NSCOUNT(msg) + LDNS_ARCOUNT(msg);
    size_t at = question_end;
    for (unsigned i = 0; i < count; i++) {
        struct dns_rr rr;
        if (!dns_rr_at(msg, len, at, &rr))
            return -EBADMSG;
        at = rr.end;
        if (rr.klass == LDNS_RR_CLASS_IN && !take_addresses(msg, &rr, &taker))
            return -EBADMSG;
    }
    return 0;
}
