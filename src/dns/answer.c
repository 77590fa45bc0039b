#include "dns/answer.h"

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

int dns_answer_each_address(const uint8_t *msg, size_t len, size_t question_end,
                            void (*each)(void *ctx, const struct ip_addr *addr), void *ctx)
{
    unsigned count = (unsigned)LDNS_ANCOUNT(msg) + LDNS_NSCOUNT(msg) + LDNS_ARCOUNT(msg);
    size_t at = question_end;
    for (unsigned i = 0; i < count; i++) {
        struct dns_rr rr;
        if (!dns_rr_at(msg, len, at, &rr))
            return -EBADMSG;
        at = rr.end;
        if (rr.klass != LDNS_RR_CLASS_IN)
            continue;
        struct ip_addr addr;
        if (rr.type == LDNS_RR_TYPE_A && rr.rdlen == 4)
            addr = ip_from_v4(msg + rr.rdata);
        else if (rr.type == LDNS_RR_TYPE_AAAA && rr.rdlen == 16)
            addr = ip_from_v6(msg + rr.rdata);
        else
            continue;
        each(ctx, &addr);
    }
    return 0;
}
