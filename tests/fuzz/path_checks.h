/* What must hold for whatever goes over the whole path of a query: each answer belongs to one question of that client,
 * and what is learned follows from a question that policy allows and from what an upstream said. */
#ifndef TESTS_FUZZ_PATH_CHECKS_H
#define TESTS_FUZZ_PATH_CHECKS_H

#include "base/learned.h"
#include "dns/answer.h"
#include "policy/policy.h"

#include "fuzz.h"

#define PATH_TTL_MAX 60

/* Forgets everything. */
void path_begin(void);
/* A message of a client's: number 0 is over UDP, others are TCP connections. False when there were too many. */
bool path_asked(unsigned client, const uint8_t *msg, size_t len);
/* What an upstream said, whether or not anybody asked. */
void path_said(const uint8_t *msg, size_t len);
/* It said something whose beginning is not known: what is learned is not compared with it. */
void path_said_in_pieces(void);
/* What the proxy wants to be learned. `took`: the kernel did. */
void path_learned(const struct policy_layers *layers, const struct learned *learned, size_t n, bool took);
/* Whether the kernel took it. */
bool path_reaches(const struct ip_addr *addr);
/* What a client got. */
void path_answered(unsigned client, const uint8_t *msg, size_t len);

#endif
