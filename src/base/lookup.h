/* Host names that the sidecar itself connects to (collector, webhook), on their way from the export thread, which wants
 * their addresses, to the loop, which asks the upstream resolvers (dns/lookups), and back. */
#ifndef BASE_LOOKUP_H
#define BASE_LOOKUP_H

#include "base/ip.h"
#include "base/mailbox.h"

#define LOOKUP_HOST_MAX 256
#define LOOKUP_ADDRESSES_MAX 16 /* more are left out */

/* Belongs to the one who asked, and must stay alive and untouched until `answered` was called. When the loop has ended
 * it may never be. */
struct lookup {
    struct mail mail; /* the first member; for whoever carries the lookup to the loop */
    char host[LOOKUP_HOST_MAX];
    /* Called once, in the loop thread: it must not block. From then on the loop does not know the lookup any more. */
    void (*answered)(struct lookup *lookup);
    void *owner;
    /* the answer */
    const char *error; /* static text; NULL: there is at least one address */
    struct ip_addr addrs[LOOKUP_ADDRESSES_MAX];
    size_t n;
    uint32_t ttl; /* the least of all records that led to them */
};

struct lookup_hook {
    void *ctx;
    /* Any thread; does not block. */
    void (*look_up)(void *ctx, struct lookup *lookup);
};

#endif
