#include "dns/answer.h"

#include <errno.h>
#include <string.h>

#define CHAIN_MAX 16 /* links of a CNAME chain; resolvers give up at 8 to 16 */

struct chain {
    uint8_t name[DNS_NAME_MAX]; /* what an address must be owned by */
    size_t len;
    unsigned links;
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
    return true;
}

int dns_answer_addresses(const uint8_t *msg, size_t len, const struct dns_question *question, struct dns_found *ret,
                         size_t *ret_n)
{
    unsigned count = LDNS_ANCOUNT(msg);
    bool v4 = question->type == LDNS_RR_TYPE_A;
    struct chain chain = {.len = question->name_len};
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
                };
            }
        }
    } while (moved);
    *ret_n = n;
    return 0;
}
