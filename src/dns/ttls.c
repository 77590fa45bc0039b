#include "dns/ttls.h"

#include "base/wire.h"

#define LIFE_MAX 86400u
#define NEGATIVE_LIFE_MAX 10800u /* RFC 2308 section 5: one to three hours work well */
#define SOA_FIXED 20             /* five numbers behind two names of an octet at least; the last is the minimum */

struct scan {
    bool positive; /* there is a record of the type asked for */
    uint32_t soa_ttl, soa_minimum;
    uint16_t soa_ttl_at; /* 0: no SOA record in the authority section */
};

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* False: with such a record the answer is not kept. */
static bool may_be_kept(const struct dns_rr *rr)
{
    return rr->klass == LDNS_RR_CLASS_IN && rr->type != LDNS_RR_TYPE_SIG && rr->type != LDNS_RR_TYPE_TSIG &&
           rr->type != LDNS_RR_TYPE_TKEY;
}

static void look_at(const uint8_t *msg, const struct dns_rr *rr, bool answer, bool authority, uint16_t type,
                    struct scan *scan)
{
    scan->positive |= answer && rr->type == type;
    if (authority && rr->type == LDNS_RR_TYPE_SOA && rr->rdlen >= SOA_FIXED + 2 && !scan->soa_ttl_at) {
        scan->soa_ttl_at = rr->ttl_at;
        scan->soa_ttl = rr->ttl;
        scan->soa_minimum = wire_load32(msg + rr->end - 4);
    }
}

/* Reads every record. False when the answer is not to be kept. */
static bool walk(const uint8_t *msg, size_t len, const struct dns_question *question, const struct dns_found *found,
                 size_t n, struct ttls *ttls, struct scan *scan)
{
    unsigned answers = LDNS_ANCOUNT(msg), upto_authority = answers + LDNS_NSCOUNT(msg);
    unsigned all = upto_authority + LDNS_ARCOUNT(msg);
    size_t at = question->end, seen = 0;
    for (unsigned i = 0; i < all; i++) {
        struct dns_rr rr;
        if (!dns_rr_at(msg, len, at, &rr))
            return false;
        at = rr.end;
        if (rr.type == LDNS_RR_TYPE_OPT) {
            if (msg[rr.ttl_at]) /* the upper bits of an error, RFC 6891 section 6.1.3 */
                return false;
            continue;
        }
        if (!may_be_kept(&rr))
            return false;
        ttls->life = least(ttls->life, rr.ttl);
        look_at(msg, &rr, i < answers, i >= answers && i < upto_authority, question->type, scan);
        if (seen < n && found[seen].ttl_at == rr.ttl_at)
            ttls->at[seen++] = rr.ttl_at;
        else if (ttls->n == TTLS_MAX)
            return false;
        else
            ttls->at[ttls->n++] = rr.ttl_at;
    }
    return at == len && seen == n;
}

bool ttls_scan(uint8_t *msg, size_t len, const struct dns_question *question, const struct dns_found *found, size_t n,
               struct ttls *ret)
{
    unsigned rcode = LDNS_RCODE_WIRE(msg);
    if ((rcode != LDNS_RCODE_NOERROR && rcode != LDNS_RCODE_NXDOMAIN) || LDNS_TC_WIRE(msg) || LDNS_QDCOUNT(msg) != 1 ||
        n > TTLS_MAX)
        return false;
    struct scan scan = {0};
    ret->life = LIFE_MAX;
    ret->n = ret->n_addresses = (uint16_t)n;
    if (!walk(msg, len, question, found, n, ret, &scan))
        return false;
    if (rcode == LDNS_RCODE_NXDOMAIN || !scan.positive) {
        if (!scan.soa_ttl_at)
            return false;
        uint32_t negative = least(scan.soa_ttl, scan.soa_minimum);
        wire_store32(msg + scan.soa_ttl_at, negative);
        ret->life = least(least(ret->life, negative), NEGATIVE_LIFE_MAX);
    }
    return ret->life > 0;
}
