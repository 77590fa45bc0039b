/* The rebinding guard: a name must not lead back into the sandbox, to its neighbours on the link, to the cloud's
 * metadata, or to nobody. Such addresses are taken out of answers, unless an allow rule names them. */
#ifndef DNS_REBINDING_H
#define DNS_REBINDING_H

#include "dns/answer.h"
#include "dns/own_addresses.h"
#include "policy/policy.h"

/* What was taken out of an answer: as many as a log line shows, and how many they were. */
#define REBINDING_SHOWN_MAX 64

struct rebinding {
    const struct policy_layers *layers;
    const struct own_addresses *own;
    struct ip_addr refused[REBINDING_SHOWN_MAX];
    size_t n_refused;
};

/* Whether the address has no place in an answer. */
bool rebinding_refuses(const struct rebinding *rebinding, const struct ip_addr *addr);
/* Looks at every address of the message and counts those that have no place in it. 0, or -EBADMSG. */
int rebinding_scan(struct rebinding *rebinding, const uint8_t *msg, size_t len, size_t question_end);
/* Keeps the others of `n` addresses; returns how many those are. */
size_t rebinding_filter(const struct rebinding *rebinding, struct dns_found *found, size_t n);

#endif
