/* Attempts: a query asked of one upstream each, over UDP, and over TCP when it is long or its answer was cut. Whom to
 * ask and how long to wait is the owner's business. Runs in the loop. */
#ifndef DNS_ATTEMPTS_H
#define DNS_ATTEMPTS_H

#include "base/loop.h"
#include "base/own_socket.h"
#include "dns/query.h"

struct attempts;

struct attempts_callbacks {
    void *ctx;
    /* An answer to the attempt, with whatever rcode, checked against its question; whole, or cut for a client that
     * came over UDP. `msg` may be changed and is valid until batch_end returns. The attempt is still awaited. */
    void (*answered)(void *ctx, struct attempt *attempt, uint8_t *msg, size_t len);
    /* No answer will come; `error` is an errno of either sign. The attempt is still awaited. */
    void (*failed)(void *ctx, struct attempt *attempt, int error);
    void (*batch_end)(void *ctx);
};

/* Borrowed for the life of the attempts. */
struct attempts_settings {
    const struct upstreams *upstreams;
    struct query_pool *pool;
    const struct ip_addr *unmarked;
    size_t n_unmarked;
    const struct own_mark *own; /* borrowed; NULL: no socket has one */
};

int attempts_new(struct loop *loop, const struct attempts_settings *settings,
                 const struct attempts_callbacks *callbacks, struct attempts **ret);
/* No attempt may be under way. */
void attempts_free(struct attempts *attempts);
/* Asks this upstream, which is `tried` then and, when there is no error, `awaited`. Datagrams leave with
 * attempts_flush(). 0 or -errno. */
int attempts_start(struct attempts *attempts, struct query *query, size_t upstream);
/* Sends once more what was asked over UDP `step_ns` ago and is awaited, and no more than once: a datagram may be lost
 * on its way. Whichever answer comes first is taken. Whether there are others, asked later. */
bool attempts_repeat(struct attempts *attempts, struct query *query, uint64_t step_ns);
/* The attempt is not awaited any more. */
void attempts_stop(struct attempts *attempts, struct attempt *attempt);
void attempts_stop_all(struct attempts *attempts, struct query *query);
void attempts_flush(struct attempts *attempts);

#endif
