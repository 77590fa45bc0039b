/* Queries on their way to upstream resolvers and back: which one to ask, over UDP or TCP, how long to wait, when to ask
 * the next as well. The first final answer counts. Runs in the loop. */
#ifndef DNS_FORWARDER_H
#define DNS_FORWARDER_H

#include "base/metrics.h"
#include "base/own_socket.h"
#include "dns/attempts.h"
#include "dns/query.h"

struct forwarder;

struct forwarder_callbacks {
    void *ctx;
    /* A final answer (NOERROR or NXDOMAIN) to `query`, checked against its question. `msg` may be changed and is valid
     * until batch_end returns. The callee releases the query, then at the latest; or it returns false because the
     * message is of no use, and other upstreams have their turn. */
    bool (*answered)(void *ctx, struct query *query, uint8_t *msg, size_t len);
    /* No upstream is left, or we cannot ask; query->error says why. The callee releases the query. */
    void (*failed)(void *ctx, struct query *query);
    /* Something is odd about what comes from the upstream. */
    void (*suspects)(void *ctx, size_t upstream, enum suspicion what);
    void (*batch_end)(void *ctx);
};

struct forwarder_settings {
    const struct sock_addr *upstreams; /* in order of preference, UPSTREAMS_MAX at most; copied */
    size_t n_upstreams;
    const struct ip_addr *unmarked; /* borrowed */
    size_t n_unmarked;
    const struct own_mark *own; /* likewise */
    uint64_t timeout_ns;
    bool mix_case;   /* of the letters in questions, see query_mix_case() */
    size_t capacity; /* queries under way */
    struct metrics *metrics;
};

int forwarder_new(struct loop *loop, const struct forwarder_settings *settings,
                  const struct forwarder_callbacks *callbacks, struct forwarder **ret);
void forwarder_free(struct forwarder *forwarder);
/* A query under way with a copy of `msg`. When there are too many, the client's query that has waited for longest makes
 * room: `failed` is called for it. NULL when there are too many long ones, or when none waits. */
struct query *forwarder_take(struct forwarder *forwarder, const uint8_t *msg, size_t len);
/* Asks the upstreams, one after the other as need be, until its time, which began at `started_ns`, is over. May call
 * `failed`. Datagrams leave with forwarder_flush(). */
void forwarder_send(struct forwarder *forwarder, struct query *query);
/* Somebody else asks the same as `query`: what was asked over UDP a second ago or more, and not since, leaves once
 * more, as it was. A client's second try must not wait for a datagram that got lost. */
void forwarder_send_again(struct forwarder *forwarder, struct query *query);
/* Asks this upstream and no other, healthy or not. */
void forwarder_send_to(struct forwarder *forwarder, struct query *query, size_t upstream, uint64_t timeout_ns);
void forwarder_release(struct forwarder *forwarder, struct query *query);
/* The upstream is never asked again. Returns how many are left. */
size_t forwarder_drop_upstream(struct forwarder *forwarder, size_t upstream);
/* What the latest probe of the upstream said: unhealthy ones are skipped while there are others. Whether it is news. */
bool forwarder_probed(struct forwarder *forwarder, size_t upstream, bool healthy);
/* How many are still asked and did not fail their latest probe. */
size_t forwarder_healthy(const struct forwarder *forwarder);
void forwarder_flush(struct forwarder *forwarder);
size_t forwarder_upstreams(const struct forwarder *forwarder);
const struct upstream *forwarder_upstream(const struct forwarder *forwarder, size_t upstream);
/* Random bytes from the pool's supply. */
void forwarder_random(struct forwarder *forwarder, uint8_t *ret, size_t len);
size_t forwarder_inflight(const struct forwarder *forwarder);
/* Calls `fn` for every query under way; it may release that query. */
void forwarder_abandon(struct forwarder *forwarder, void (*fn)(void *ctx, struct query *query), void *ctx);

#endif
