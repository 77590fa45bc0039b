#include "dns/loop_probe.h"

#include "base/wire.h"
#include "dns/message.h"

#include <assert.h>
#include <string.h>

/* A name that no zone has. It is not below .test or .invalid, which resolvers answer without asking anyone. */
static const uint8_t suffix[] = "\x18opensandbox-egress-probe"; /* and the root */

static_assert(sizeof(suffix) == 1 + 0x18 + 1, "the label's length");
static_assert(DNS_HEADER_SIZE + 1 + LOOP_PROBE_LABEL + sizeof(suffix) + 4 + 12 + 1 + LOOP_PROBE_SECRET <=
                  LOOP_PROBE_MAX,
              "query and answer fit");

size_t loop_probe_start(struct loop_probes *probes, size_t i, const uint8_t random[LOOP_PROBE_RANDOM],
                        uint8_t ret_query[LOOP_PROBE_MAX])
{
    static const uint8_t header[DNS_HEADER_SIZE] = {[2] = LDNS_RD_MASK, [5] = 1};
    static const uint8_t type_and_class[4] = {0, LDNS_RR_TYPE_TXT, 0, LDNS_RR_CLASS_IN};
    struct loop_probe *probe = &probes->list[i];
    for (size_t k = 0; k < LOOP_PROBE_LABEL; k++)
        probe->label[k] = (uint8_t) "0123456789abcdef"[k % 2 ? random[k / 2] & 15 : random[k / 2] >> 4];
    memcpy(probe->secret, random + LOOP_PROBE_LABEL / 2, LOOP_PROBE_SECRET);
    probe->active = true;
    probes->active++;
    size_t at = sizeof(header);
    memcpy(ret_query, header, sizeof(header));
    ret_query[at++] = LOOP_PROBE_LABEL;
    memcpy(ret_query + at, probe->label, LOOP_PROBE_LABEL);
    at += LOOP_PROBE_LABEL;
    memcpy(ret_query + at, suffix, sizeof(suffix));
    at += sizeof(suffix);
    memcpy(ret_query + at, type_and_class, sizeof(type_and_class));
    return at + sizeof(type_and_class);
}

void loop_probe_end(struct loop_probes *probes, size_t i)
{
    probes->active -= probes->list[i].active;
    probes->list[i].active = false;
}

const struct loop_probe *loop_probe_find(const struct loop_probes *probes, const uint8_t *name, size_t len)
{
    if (!probes->active || len != 1 + LOOP_PROBE_LABEL + sizeof(suffix) || name[0] != LOOP_PROBE_LABEL ||
        memcmp(name + 1 + LOOP_PROBE_LABEL, suffix, sizeof(suffix)))
        return NULL;
    for (size_t i = 0; i < UPSTREAMS_MAX; i++)
        if (probes->list[i].active && !memcmp(name + 1, probes->list[i].label, LOOP_PROBE_LABEL))
            return &probes->list[i];
    return NULL;
}

size_t loop_probe_answer(const struct loop_probe *probe, const uint8_t *query, size_t question_end,
                         uint8_t ret_answer[LOOP_PROBE_MAX])
{
    /* owner: the question; TXT, IN, TTL 0, one string */
    static const uint8_t record[] = {0xC0,
                                     DNS_HEADER_SIZE,
                                     0,
                                     LDNS_RR_TYPE_TXT,
                                     0,
                                     LDNS_RR_CLASS_IN,
                                     0,
                                     0,
                                     0,
                                     0,
                                     0,
                                     1 + LOOP_PROBE_SECRET,
                                     LOOP_PROBE_SECRET};
    memcpy(ret_answer, query, question_end);
    memset(ret_answer + 6, 0, 6);
    ret_answer[2] = LDNS_QR_MASK | (query[2] & LDNS_RD_MASK);
    ret_answer[3] = LDNS_RA_MASK;
    ret_answer[7] = 1;
    memcpy(ret_answer + question_end, record, sizeof(record));
    memcpy(ret_answer + question_end + sizeof(record), probe->secret, LOOP_PROBE_SECRET);
    return question_end + sizeof(record) + LOOP_PROBE_SECRET;
}

bool loop_probe_came_back(const struct loop_probe *probe, const uint8_t *msg, size_t len)
{
    return memmem(msg, len, probe->secret, LOOP_PROBE_SECRET) != NULL;
}
