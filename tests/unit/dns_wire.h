/* DNS messages for tests, made by ldns: an implementation that is not ours. */
#ifndef TESTS_UNIT_DNS_WIRE_H
#define TESTS_UNIT_DNS_WIRE_H

/* Before ldns.h, which else turns _Bool into a signed char. */
#include <stdbool.h>

#include <check.h>
#include <ldns/ldns.h>
#include <stddef.h>
#include <stdint.h>

struct wire_message {
    uint8_t data[65535];
    size_t len;
};

static inline void wire_from_pkt(ldns_pkt *pkt, struct wire_message *ret)
{
    uint8_t *data;
    ck_assert_int_eq(ldns_pkt2wire(&data, pkt, &ret->len), LDNS_STATUS_OK);
    memcpy(ret->data, data, ret->len);
    free(data);
    ldns_pkt_free(pkt);
}

static inline ldns_pkt *query_pkt(const char *name, ldns_rr_type type)
{
    ldns_pkt *pkt = ldns_pkt_query_new(ldns_dname_new_frm_str(name), type, LDNS_RR_CLASS_IN, LDNS_RD);
    ck_assert_ptr_nonnull(pkt);
    ldns_pkt_set_id(pkt, 0x1234);
    return pkt;
}

/* A NOERROR response with `n` records in its answer section, given in presentation format. */
static inline void response(const char *name, ldns_rr_type type, const char *const *records, size_t n,
                            struct wire_message *ret)
{
    ldns_pkt *pkt = query_pkt(name, type);
    ldns_pkt_set_qr(pkt, true);
    ldns_pkt_set_ra(pkt, true);
    for (size_t i = 0; i < n; i++) {
        ldns_rr *rr;
        ck_assert_int_eq(ldns_rr_new_frm_str(&rr, records[i], 0, NULL, NULL), LDNS_STATUS_OK);
        ldns_pkt_push_rr(pkt, LDNS_SECTION_ANSWER, rr);
    }
    wire_from_pkt(pkt, ret);
}

#endif
