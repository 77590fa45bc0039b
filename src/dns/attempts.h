/* Attempts: a query asked of one upstream each, over UDP, and over TCP when it is long or its answer was cut. Whom to
 * ask and how long to wait is the owner's business. Runs in the loop. */
#ifndef DNS_ATTEMPTS_H
#define DNS_ATTEMPTS_H

#include "base/loop.h"
#include "base/own_socket.h"
#include "dns/query.h"

struct attempts;

/* What an upstream's answers let one think. */
enum suspicion {
    SUSPECT_FLOOD,  /* more answers than questions on a socket: what waited on it is asked over TCP */
    SUSPECT_FORGED, /* an answer with the right id on the right port, and a spelling that the upstream does not have */
    SUSPECT_SPELLING, /* none, but that the upstream changes the case of letters; told once */
};

struct attempts_callbacks {
    void *ctx;
    /* An answer to the attempt, with whatever rcode, checked against its question; whole, or cut for a client that
     * came over UDP. `msg` may be changed and is valid until batch_end returns. The attempt is still awaited. */
    void (*answered)(void *ctx, struct attempt *attempt, uint8_t *msg, size_t len);
    /* No answer will come: -errno. The attempt is still awaited. */
    void (*failed)(void *ctx, struct attempt *attempt, int error);
    void (*suspects)(void *ctx, size_t upstream, enum suspicion what);
    void (*batch_end)(void *ctx);
};

/* Borrowed for the life of the attempts. */
struct attempts_settings {
    struct upstreams *upstreams;
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
/* Sends what was asked over UDP and is awaited once more, as it was. */
void attempts_send_again(struct attempts *attempts, struct query *query);
/* The attempt is not awaited any more. */
void attempts_stop(struct attempts *attempts, struct attempt *attempt);
void attempts_stop_all(struct attempts *attempts, struct query *query);
void attempts_flush(struct attempts *attempts);

#endif
