/* An address that an answer named: what the DNS proxy finds and the kernel is told to let through. */
#ifndef BASE_LEARNED_H
#define BASE_LEARNED_H

#include "base/ip.h"

struct learned {
    struct ip_addr addr;
    uint32_t ttl;        /* seconds, as the answer says */
    const uint8_t *name; /* the question's name: wire format, lower-case */
    uint8_t name_len;
};

#endif
