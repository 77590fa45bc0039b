/* What an upstream's answer says about addresses. Pure. */
#ifndef DNS_ANSWER_H
#define DNS_ANSWER_H

#include "base/ip.h"
#include "dns/message.h"

struct dns_found {
    struct ip_addr addr;
    uint32_t ttl;
    uint16_t ttl_at;    /* offset of the TTL field in the message */
    uint32_t chain_ttl; /* the least of the chain's links; UINT32_MAX without a chain */
};

/* The most addresses an answer of `len` bytes can hold. */
static inline size_t dns_found_max(size_t len)
{
    return len / 15; /* an owner (the root takes one byte), the fixed fields, an IPv4 address */
}

/* Collects the addresses that the question leads to: A or AAAA records, as asked, owned by the question's name or by
 * the end of its CNAME chain, in whatever order the records stand. Others are passed over: whoever writes an answer
 * must not open addresses for names nobody asked for. (A DNAME always comes with the CNAME made from it, RFC 6672
 * section 3.1.) `ret` has room for dns_found_max(len). 0, or -EBADMSG when the answer section cannot be read. */
int dns_answer_addresses(const uint8_t *msg, size_t len, const struct dns_question *question, struct dns_found *ret,
                         size_t *ret_n);

/* Calls `each` for the address of every A, AAAA and A6 record of class IN, in whatever section and whoever owns it
 * (some stub resolvers take them all), and for every address hint of SVCB and HTTPS records (RFC 9460 section 7.3). 0,
 * or -EBADMSG when the message, or such a record, cannot be read to its end. */
int dns_answer_each_address(const uint8_t *msg, size_t len, size_t question_end,
                            void (*each)(void *ctx, const struct ip_addr *addr), void *ctx);

#endif
