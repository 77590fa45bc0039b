/* Is an upstream resolver one that asks us? Docker's 127.0.0.11 forwards from inside the namespace: its own questions
 * are redirected to our listener, and every lookup would go round in circles. At start each upstream is asked a random
 * name. Our listener answers that name with a secret; an upstream whose answer carries it has asked us. The name alone
 * proves nothing, since an application that can sniff may ask it too. Pure. */
#ifndef DNS_LOOP_PROBE_H
#define DNS_LOOP_PROBE_H

#include "dns/upstream.h"

#include <stddef.h>
#include <stdint.h>

#define LOOP_PROBE_RANDOM 32 /* bytes a probe needs */
#define LOOP_PROBE_SECRET 16
#define LOOP_PROBE_LABEL 32 /* hexadecimal digits: nobody guesses 128 bits */
#define LOOP_PROBE_MAX 128  /* bytes of a probe's query, and of our answer to it without an OPT */

struct loop_probe {
    bool active; /* asked and not answered yet */
    uint8_t label[LOOP_PROBE_LABEL];
    uint8_t secret[LOOP_PROBE_SECRET];
};

struct loop_probes {
    unsigned active;
    struct loop_probe list[UPSTREAMS_MAX];
};

/* Starts the probe of upstream `i`: writes its query, without an id, and returns the length. */
size_t loop_probe_start(struct loop_probes *probes, size_t i, const uint8_t random[LOOP_PROBE_RANDOM],
                        uint8_t ret_query[LOOP_PROBE_MAX]);
void loop_probe_end(struct loop_probes *probes, size_t i);
/* The active probe that asks this name (wire format, lower-case), or NULL. */
const struct loop_probe *loop_probe_find(const struct loop_probes *probes, const uint8_t *name, size_t len);
/* Our listener's answer to `query` for the probe's name: a TXT record with the secret. Returns the length. */
size_t loop_probe_answer(const struct loop_probe *probe, const uint8_t *query, size_t question_end,
                         uint8_t ret_answer[LOOP_PROBE_MAX]);
/* Whether an upstream's answer to the probe carries the secret. */
bool loop_probe_came_back(const struct loop_probe *probe, const uint8_t *msg, size_t len);

#endif
