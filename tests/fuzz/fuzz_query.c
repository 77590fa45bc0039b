/* A client's datagram: what the scanner takes, ldns reads alike. */
#include "dns/message.h"
#include "dns/reply.h"

#include "fuzz.h"

#include <ldns/ldns.h>
#include <string.h>

static void agree(const uint8_t *data, size_t len, const struct dns_question *question, const struct dns_edns *edns)
{
    ldns_pkt *pkt = NULL;
    must(ldns_wire2pkt(&pkt, data, len) == LDNS_STATUS_OK);
    must(ldns_rr_list_rr_count(ldns_pkt_question(pkt)) == 1);
    const ldns_rr *rr = ldns_rr_list_rr(ldns_pkt_question(pkt), 0);
    ldns_rdf *owner = ldns_rdf_clone(ldns_rr_owner(rr));
    ldns_dname2canonical(owner);
    must(ldns_rdf_size(owner) == question->name_len);
    must(!memcmp(ldns_rdf_data(owner), question->name, question->name_len));
    must(ldns_rr_get_type(rr) == question->type);
    must(ldns_pkt_edns(pkt) == edns->present);
    if (edns->present) {
        must(ldns_pkt_edns_udp_size(pkt) == edns->payload);
        must(ldns_pkt_edns_version(pkt) == edns->version);
        must(!!(ldns_pkt_edns_z(pkt) & 0x8000) == edns->dnssec_ok);
    }
    ldns_rdf_deep_free(owner);
    ldns_pkt_free(pkt);
}

/* A denial is a message that ldns can read, for the same question. */
static void deny(const uint8_t *data, const struct dns_question *question, const struct dns_edns *edns)
{
    uint8_t reply[DNS_REPLY_MAX];
    size_t len = dns_reply_empty(data, question->end, edns, LDNS_RCODE_NXDOMAIN, 15, "denied", reply);
    must(len <= sizeof(reply));
    ldns_pkt *pkt = NULL;
    must(ldns_wire2pkt(&pkt, reply, len) == LDNS_STATUS_OK);
    must(ldns_pkt_get_rcode(pkt) == LDNS_RCODE_NXDOMAIN && ldns_pkt_qr(pkt) && ldns_pkt_ra(pkt));
    must(ldns_pkt_edns(pkt) == edns->present);
    ldns_pkt_free(pkt);
    must(dns_answers(reply, len, data, question->end));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct dns_question question;
    struct dns_edns edns;
    if (len > DNS_MESSAGE_MAX || dns_scan_query(data, len, &question, &edns) != DNS_SCAN_OK)
        return 0;
    agree(data, len, &question, &edns);
    deny(data, &question, &edns);
    return 0;
}
