#include "dns/attempts.h"

#include "dns/reply.h"
#include "dns/upstream_tcp.h"
#include "dns/upstream_udp.h"

#include <errno.h>
#include <stdlib.h>

#define EXCHANGES_MAX 256 /* connections to upstreams at once */

struct attempts {
    struct loop *loop;
    struct attempts_settings settings;
    struct attempts_callbacks callbacks;
    struct upstream_udp *udp;
    unsigned exchanges;
};

static const struct own_mark *mark_of(void *ctx, const struct sock_addr *upstream)
{
    const struct attempts_settings *settings = &((struct attempts *)ctx)->settings;
    struct ip_addr ip = sock_addr_ip(upstream);
    for (size_t i = 0; i < settings->n_unmarked; i++)
        if (ip_equal(&settings->unmarked[i], &ip))
            return NULL;
    return settings->own;
}

static uint32_t random_number(void *ctx)
{
    return query_random(((struct attempts *)ctx)->settings.pool);
}

static void end_batch(void *ctx)
{
    struct attempts *attempts = ctx;
    attempts->callbacks.batch_end(attempts->callbacks.ctx);
}

static void tcp_done(void *ctx, uint8_t *msg, size_t len, int error)
{
    struct attempt *attempt = ctx;
    const struct query *query = attempt->query;
    struct attempts *attempts = attempt->attempts;
    attempt->exchange = NULL; /* it ends itself */
    attempts->exchanges--;
    if (!error && (!dns_answers(msg, len, query->packet, query->question_end) || LDNS_TC_WIRE(msg)))
        error = -EBADMSG;
    if (error)
        attempts->callbacks.failed(attempts->callbacks.ctx, attempt, error);
    else
        attempts->callbacks.answered(attempts->callbacks.ctx, attempt, msg, len);
    end_batch(attempts);
}

static int ask_over_tcp(struct attempts *attempts, struct attempt *attempt)
{
    if (attempts->exchanges == EXCHANGES_MAX)
        return -EMFILE;
    const struct query *query = attempt->query;
    const struct sock_addr *addr = &attempts->settings.upstreams->list[attempt_upstream(attempt)].addr;
    int error = upstream_tcp_start(attempts->loop, addr, mark_of(attempts, addr), query->packet, query->len, tcp_done,
                                   attempt, &attempt->exchange);
    attempts->exchanges += !error;
    return error;
}

int attempts_start(struct attempts *attempts, struct query *query, size_t upstream)
{
    struct attempt *attempt = &query->attempts[upstream];
    *attempt = (struct attempt){
        .attempts = attempts, .query = query, .asked_ns = loop_now(attempts->loop), .socket = QUERY_NO_SOCKET};
    query->upstream = (uint8_t)upstream;
    query->tried |= (uint16_t)(1u << upstream);
    int error = query->len > DNS_UDP_EDNS_MAX
                    ? ask_over_tcp(attempts, attempt)
                    : upstream_udp_send(attempts->udp, upstream, query->packet, query->len, &attempt->socket);
    if (!error)
        query->awaited |= (uint16_t)(1u << upstream);
    return error;
}

bool attempts_repeat(struct attempts *attempts, struct query *query, uint64_t step_ns)
{
    bool others = false;
    for (size_t i = 0; i < attempts->settings.upstreams->n; i++) {
        struct attempt *attempt = &query->attempts[i];
        if (!(query->awaited & 1u << i) || attempt->socket == QUERY_NO_SOCKET || attempt->repeated)
            continue;
        if (attempt->asked_ns + step_ns > loop_now(attempts->loop)) {
            others = true;
            continue;
        }
        attempt->repeated = true;
        upstream_udp_repeat(attempts->udp, attempt->socket, query->packet, query->len);
    }
    return others;
}

void attempts_stop(struct attempts *attempts, struct attempt *attempt)
{
    attempt->query->awaited &= (uint16_t) ~(1u << attempt_upstream(attempt));
    attempt->socket = QUERY_NO_SOCKET;
    if (!attempt->exchange)
        return;
    upstream_tcp_cancel(attempt->exchange);
    attempt->exchange = NULL;
    attempts->exchanges--;
}

void attempts_stop_all(struct attempts *attempts, struct query *query)
{
    for (size_t i = 0; query->tried >> i; i++)
        if (query->tried & 1u << i)
            attempts_stop(attempts, &query->attempts[i]);
}

/* The attempt that left with this id on this socket and is awaited, or NULL. */
static struct attempt *find(const struct attempts *attempts, uint16_t id, uint16_t socket)
{
    struct query *query = query_by_id(attempts->settings.pool, id);
    for (size_t i = 0; query && query->awaited >> i; i++)
        if (query->awaited & 1u << i && query->attempts[i].socket == socket)
            return &query->attempts[i];
    return NULL;
}

static void udp_answer(void *ctx, uint16_t socket, uint8_t *msg, size_t len, bool cut)
{
    struct attempts *attempts = ctx;
    struct attempt *attempt = len >= DNS_HEADER_SIZE ? find(attempts, LDNS_ID_WIRE(msg), socket) : NULL;
    if (!attempt || !dns_answers(msg, len, attempt->query->packet, attempt->query->question_end))
        return;
    const struct query *query = attempt->query;
    bool final = LDNS_RCODE_WIRE(msg) == LDNS_RCODE_NOERROR || LDNS_RCODE_WIRE(msg) == LDNS_RCODE_NXDOMAIN;
    if (final && (cut || LDNS_TC_WIRE(msg))) {
        if (query_wants_all(query)) {
            attempt->socket = QUERY_NO_SOCKET;
            int error = ask_over_tcp(attempts, attempt);
            if (error)
                attempts->callbacks.failed(attempts->callbacks.ctx, attempt, error);
            return;
        }
        if (cut)
            len = dns_reply_truncate(msg, query->question_end, &query->edns);
    }
    attempts->callbacks.answered(attempts->callbacks.ctx, attempt, msg, len);
}

static void udp_undelivered(void *ctx, uint16_t socket, uint16_t id, int error)
{
    struct attempts *attempts = ctx;
    struct attempt *attempt = find(attempts, id, socket);
    if (attempt)
        attempts->callbacks.failed(attempts->callbacks.ctx, attempt, error);
}

int attempts_new(struct loop *loop, const struct attempts_settings *settings,
                 const struct attempts_callbacks *callbacks, struct attempts **ret)
{
    struct attempts *attempts = calloc(1, sizeof(*attempts));
    if (!attempts)
        return -ENOMEM;
    attempts->loop = loop;
    attempts->settings = *settings;
    attempts->callbacks = *callbacks;
    struct upstream_udp_callbacks udp = {.ctx = attempts,
                                         .answer = udp_answer,
                                         .undelivered = udp_undelivered,
                                         .batch_end = end_batch,
                                         .random = random_number};
    int error = upstream_udp_new(loop, settings->upstreams, mark_of, &udp, &attempts->udp);
    if (error) {
        free(attempts);
        return error;
    }
    *ret = attempts;
    return 0;
}

void attempts_free(struct attempts *attempts)
{
    if (!attempts)
        return;
    upstream_udp_free(attempts->udp);
    free(attempts);
}

void attempts_flush(struct attempts *attempts)
{
    upstream_udp_flush(attempts->udp);
}
