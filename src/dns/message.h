/* DNS messages, scanned in place (RFC 1035 section 4, EDNS: RFC 6891). Pure: bytes in, facts out; nothing is allocated
 * and nothing outside the message is read. Stricter than a resolver must be: what is odd is refused. */
#ifndef DNS_MESSAGE_H
#define DNS_MESSAGE_H

/* Before any header of ldns: without it they turn _Bool into a signed char. */
#include <stdbool.h>

#include <ldns/packet.h>
#include <ldns/rr.h>
#include <ldns/wire2host.h>
#include <stddef.h>
#include <stdint.h>

#define DNS_HEADER_SIZE 12
#define DNS_NAME_MAX 255
#define DNS_MESSAGE_MAX 65535
#define DNS_UDP_PLAIN_MAX 512 /* without EDNS */
#define DNS_UDP_EDNS_MAX 1232 /* what we ask of upstreams: fits every path without fragments (DNS flag day 2020) */

/* The flags of a client's header that an upstream sees: RD; AD and CD (RFC 4035 section 3.2, RFC 6840 section 5.7). */
#define DNS_KEPT_FLAGS_2 LDNS_RD_MASK
#define DNS_KEPT_FLAGS_3 (LDNS_AD_MASK | LDNS_CD_MASK)

#define DNS_BADVERS 16 /* RFC 6891 section 9; the one rcode here that needs the OPT record's bits */

/* The question of a message, with its name in lower case. */
struct dns_question {
    uint8_t name[DNS_NAME_MAX];
    uint8_t name_len;
    uint16_t type;
    uint16_t end; /* offset in the message of the first byte behind the question */
};

/* What the sender said with EDNS. */
struct dns_edns {
    bool present;
    uint8_t version;
    bool dnssec_ok;
    uint16_t payload; /* as sent */
};

enum dns_verdict {
    DNS_SCAN_OK,
    DNS_SCAN_DROP, /* not a query, or too short to answer */
    DNS_SCAN_FORMERR,
    DNS_SCAN_NOTIMP,  /* another opcode */
    DNS_SCAN_REFUSED, /* another class than IN */
};

/* Scans a client's query: exactly one uncompressed question of class IN, and nothing else but at most one
 * OPT record. Outputs are set for DNS_SCAN_OK only. `len` is at most DNS_MESSAGE_MAX. */
enum dns_verdict dns_scan_query(const uint8_t *msg, size_t len, struct dns_question *ret_question,
                                struct dns_edns *ret_edns);

enum dns_match {
    DNS_NO_ANSWER,
    DNS_ANSWER_RESPELLED, /* the name has letters of another case (RFC 4343: the same name) */
    DNS_ANSWER,
};

/* Whether `msg` is a response to the query `sent`: same id, opcode and question. A response that reports an error and
 * has no answer may leave the question out. `question_end` is that of `sent`. */
enum dns_match dns_answers(const uint8_t *msg, size_t len, const uint8_t *sent, size_t question_end);

/* An OPT record without options, and the room it takes. */
#define DNS_OPT_SIZE 11
/* Writes one with our payload size and the client's DO bit. EDNS is between neighbours (RFC 6891 section 6.1.1): what a
 * client says to us by other flags and by options (cookies, padding, subnets, unknown ones) ends here. */
void dns_write_opt(uint8_t ret_record[DNS_OPT_SIZE], bool dnssec_ok);

/* 0x20 for each of eight octets that is a letter from `first` to `last` once `ignored` bits are set in it. */
static inline uint64_t dns_letters(uint64_t octets, uint8_t first, uint8_t last, uint8_t ignored)
{
    const uint64_t every = 0x0101010101010101u;
    uint64_t low = (octets | every * ignored) & every * 0x7f;
    uint64_t from_first = low + every * (0x80u - first), behind_last = low + every * (0x7fu - last);
    return (from_first & ~behind_last & ~octets & every * 0x80) >> 2;
}

/* Writes `len` octets of a wire-format name in lower case. Label lengths stay as they are: all below 'A'. */
void dns_lower(uint8_t *to, const uint8_t *from, size_t len);

/* One resource record on a walk through a message. */
struct dns_rr {
    uint16_t owner; /* offset of the owner's name, possibly compressed */
    uint16_t type;
    uint16_t klass;
    uint16_t ttl_at; /* offset of the TTL field */
    uint16_t rdata;  /* offset and length of the data */
    uint16_t rdlen;
    uint16_t end;
    uint32_t ttl; /* a value with the highest bit set counts as 0 (RFC 2181 section 8) */
};

/* Reads the record at `at`; false when it does not fit into the message. */
bool dns_rr_at(const uint8_t *msg, size_t len, size_t at, struct dns_rr *ret);

/* Expands the name at `at` in lower case, following compression pointers, which must point backwards. 0 when it is
 * malformed, else its length in octets. */
size_t dns_name_at(const uint8_t *msg, size_t len, size_t at, uint8_t ret_name[DNS_NAME_MAX]);

#endif
