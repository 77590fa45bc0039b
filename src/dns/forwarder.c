#include "dns/forwarder.h"

#include "dns/reply.h"
#include "dns/upstream.h"
#include "dns/upstream_tcp.h"
#include "dns/upstream_udp.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define EXCHANGES_MAX 256 /* connections to upstreams at once */

struct forwarder {
    struct loop *loop;
    struct forwarder_callbacks callbacks;
    struct upstreams upstreams;
    const struct ip_addr *unmarked;
    size_t n_unmarked;
    uint32_t mark;
    struct query_pool *pool;
    struct upstream_udp *udp;
    unsigned exchanges;
    struct loop_timer deadline;
};

static const char *rcode_text(unsigned rcode)
{
    switch (rcode) {
    case LDNS_RCODE_FORMERR:
        return "upstream answered FORMERR";
    case LDNS_RCODE_SERVFAIL:
        return "upstream answered SERVFAIL";
    case LDNS_RCODE_NOTIMPL:
        return "upstream answered NOTIMP";
    case LDNS_RCODE_REFUSED:
        return "upstream answered REFUSED";
    default:
        return "upstream answered with an error";
    }
}

static const char *error_text(int error)
{
    const char *text = strerrordesc_np(error < 0 ? -error : error);
    return text ? text : "network error";
}

static uint32_t mark_of(void *ctx, const struct sock_addr *upstream)
{
    struct forwarder *forwarder = ctx;
    struct ip_addr ip = sock_addr_ip(upstream);
    for (size_t i = 0; i < forwarder->n_unmarked; i++)
        if (ip_equal(&forwarder->unmarked[i], &ip))
            return 0;
    return forwarder->mark;
}

static uint32_t random_number(void *ctx)
{
    return query_random(((struct forwarder *)ctx)->pool);
}

static void arm_deadline(struct forwarder *forwarder)
{
    const struct query *earliest = query_earliest(forwarder->pool);
    if (earliest && !forwarder->deadline.heap_at)
        loop_timer_set(forwarder->loop, &forwarder->deadline, earliest->deadline_ns);
}

static void tcp_done(void *ctx, uint8_t *msg, size_t len, int error);

static int ask_over_tcp(struct forwarder *forwarder, struct query *query)
{
    if (forwarder->exchanges == EXCHANGES_MAX)
        return -EMFILE;
    const struct sock_addr *addr = &forwarder->upstreams.list[query->upstream].addr;
    int error = upstream_tcp_start(forwarder->loop, addr, mark_of(forwarder, addr), query->packet, query->len, tcp_done,
                                   query, &query->exchange);
    forwarder->exchanges += !error;
    return error;
}

static void stop_exchange(struct forwarder *forwarder, struct query *query)
{
    if (!query->exchange)
        return;
    upstream_tcp_cancel(query->exchange);
    query->exchange = NULL;
    forwarder->exchanges--;
}

static void give_up(struct forwarder *forwarder, struct query *query, const char *error)
{
    query->error = error;
    query->socket = QUERY_NO_SOCKET;
    query_await_no_more(forwarder->pool, query);
    forwarder->callbacks.failed(forwarder->callbacks.ctx, query);
}

/* We are short of something: no fault of the upstream, and no other would do better. */
static bool is_ours(int error)
{
    return error == -EMFILE || error == -ENFILE || error == -ENOMEM || error == -ENOBUFS;
}

void forwarder_send(struct forwarder *forwarder, struct query *query, const char *error)
{
    uint64_t now = loop_now(forwarder->loop);
    stop_exchange(forwarder, query);
    query->socket = QUERY_NO_SOCKET;
    if (query->tried)
        query_renew_id(forwarder->pool, query);
    for (;;) {
        int next = upstreams_next(&forwarder->upstreams, query->tried, now);
        if (next < 0) {
            give_up(forwarder, query, error);
            return;
        }
        query->upstream = (uint8_t)next;
        query->tried |= (uint16_t)(1u << next);
        int result = query->len > DNS_UDP_EDNS_MAX
                         ? ask_over_tcp(forwarder, query)
                         : upstream_udp_send(forwarder->udp, (size_t)next, query->packet, query->len, &query->socket);
        if (!result)
            break;
        error = error_text(result);
        if (is_ours(result)) {
            give_up(forwarder, query, error);
            return;
        }
        upstreams_failed(&forwarder->upstreams, (size_t)next, now);
    }
    query_await(forwarder->pool, query, now + forwarder->upstreams.wait_ns);
    arm_deadline(forwarder);
}

void forwarder_send_to(struct forwarder *forwarder, struct query *query, size_t upstream)
{
    query->tried = (uint16_t) ~(1u << upstream);
    forwarder_send(forwarder, query, NULL);
}

size_t forwarder_drop_upstream(struct forwarder *forwarder, size_t upstream)
{
    return upstreams_drop(&forwarder->upstreams, upstream);
}

/* The upstream that was asked did not do its part. */
static void attempt_failed(struct forwarder *forwarder, struct query *query, const char *error)
{
    upstreams_failed(&forwarder->upstreams, query->upstream, loop_now(forwarder->loop));
    forwarder_send(forwarder, query, error);
}

/* An answer that belongs to the query, whole. */
static void take_answer(struct forwarder *forwarder, struct query *query, uint8_t *msg, size_t len)
{
    upstreams_answered(&forwarder->upstreams, query->upstream);
    query->socket = QUERY_NO_SOCKET; /* a second one in the same batch is a stranger's */
    unsigned rcode = LDNS_RCODE_WIRE(msg);
    if (rcode != LDNS_RCODE_NOERROR && rcode != LDNS_RCODE_NXDOMAIN) {
        forwarder_send(forwarder, query, rcode_text(rcode));
        return;
    }
    query_await_no_more(forwarder->pool, query);
    forwarder->callbacks.answered(forwarder->callbacks.ctx, query, msg, len);
}

static void udp_answer(void *ctx, uint16_t socket, uint8_t *msg, size_t len, bool cut)
{
    struct forwarder *forwarder = ctx;
    struct query *query = len >= DNS_HEADER_SIZE ? query_by_id(forwarder->pool, LDNS_ID_WIRE(msg)) : NULL;
    if (!query || query->socket != socket || !dns_answers(msg, len, query->packet, query->question_end))
        return;
    bool final = LDNS_RCODE_WIRE(msg) == LDNS_RCODE_NOERROR || LDNS_RCODE_WIRE(msg) == LDNS_RCODE_NXDOMAIN;
    if (final && (cut || LDNS_TC_WIRE(msg))) {
        if (query->tcp) {
            query->socket = QUERY_NO_SOCKET;
            int error = ask_over_tcp(forwarder, query); /* within the wait that this upstream has left */
            if (is_ours(error))
                give_up(forwarder, query, error_text(error));
            else if (error)
                attempt_failed(forwarder, query, error_text(error));
            return;
        }
        if (cut)
            len = dns_reply_truncate(msg, query->question_end, &query->edns);
    }
    take_answer(forwarder, query, msg, len);
}

static void udp_undelivered(void *ctx, uint16_t socket, uint16_t id, int error)
{
    struct forwarder *forwarder = ctx;
    struct query *query = query_by_id(forwarder->pool, id);
    if (query && query->socket == socket)
        attempt_failed(forwarder, query, error_text(error));
}

static void end_batch(void *ctx)
{
    struct forwarder *forwarder = ctx;
    forwarder->callbacks.batch_end(forwarder->callbacks.ctx);
}

static void tcp_done(void *ctx, uint8_t *msg, size_t len, int error)
{
    struct query *query = ctx;
    struct forwarder *forwarder = query->forwarder;
    query->exchange = NULL; /* it ends itself */
    forwarder->exchanges--;
    if (error)
        attempt_failed(forwarder, query, error_text(error));
    else if (!dns_answers(msg, len, query->packet, query->question_end) || LDNS_TC_WIRE(msg))
        attempt_failed(forwarder, query, "upstream answered another question");
    else
        take_answer(forwarder, query, msg, len);
    end_batch(forwarder);
}

static void deadline_fired(struct loop_timer *timer)
{
    struct forwarder *forwarder = timer->owner;
    uint64_t now = loop_now(forwarder->loop);
    struct query *query;
    while ((query = query_earliest(forwarder->pool)) && query->deadline_ns <= now)
        attempt_failed(forwarder, query, "timeout");
    end_batch(forwarder);
    arm_deadline(forwarder);
}

int forwarder_new(struct loop *loop, const struct forwarder_settings *settings,
                  const struct forwarder_callbacks *callbacks, struct forwarder **ret)
{
    struct forwarder *forwarder = calloc(1, sizeof(*forwarder));
    if (!forwarder)
        return -ENOMEM;
    forwarder->loop = loop;
    forwarder->callbacks = *callbacks;
    forwarder->unmarked = settings->unmarked;
    forwarder->n_unmarked = settings->n_unmarked;
    forwarder->mark = settings->mark;
    forwarder->deadline = (struct loop_timer){.fire = deadline_fired, .owner = forwarder};
    upstreams_init(&forwarder->upstreams, settings->upstreams, settings->n_upstreams, settings->timeout_ns);
    struct upstream_udp_callbacks udp = {.ctx = forwarder,
                                         .answer = udp_answer,
                                         .undelivered = udp_undelivered,
                                         .batch_end = end_batch,
                                         .random = random_number};
    int error = query_pool_new(settings->capacity, &forwarder->pool);
    if (!error)
        error = upstream_udp_new(loop, &forwarder->upstreams, mark_of, &udp, &forwarder->udp);
    if (error) {
        forwarder_free(forwarder);
        return error;
    }
    *ret = forwarder;
    return 0;
}

void forwarder_free(struct forwarder *forwarder)
{
    if (!forwarder)
        return;
    loop_timer_cancel(forwarder->loop, &forwarder->deadline);
    upstream_udp_free(forwarder->udp);
    query_pool_free(forwarder->pool);
    free(forwarder);
}

struct query *forwarder_take(struct forwarder *forwarder, const uint8_t *msg, size_t len)
{
    struct query *query = query_take(forwarder->pool, msg, len);
    if (query)
        query->forwarder = forwarder;
    return query;
}

void forwarder_release(struct forwarder *forwarder, struct query *query)
{
    stop_exchange(forwarder, query);
    query_release(forwarder->pool, query);
}

void forwarder_flush(struct forwarder *forwarder)
{
    upstream_udp_flush(forwarder->udp);
}

size_t forwarder_upstreams(const struct forwarder *forwarder)
{
    return forwarder->upstreams.n;
}

void forwarder_random(struct forwarder *forwarder, uint8_t *ret, size_t len)
{
    for (size_t i = 0; i < len; i++)
        ret[i] = (uint8_t)query_random(forwarder->pool);
}

size_t forwarder_inflight(const struct forwarder *forwarder)
{
    return query_count(forwarder->pool);
}

void forwarder_abandon(struct forwarder *forwarder, void (*fn)(void *ctx, struct query *query), void *ctx)
{
    struct query *query;
    while ((query = query_earliest(forwarder->pool))) {
        query_await_no_more(forwarder->pool, query);
        fn(ctx, query);
    }
}
