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

/* The answer over UDP had other letters: a stranger's, or the upstream makes that of them. The one over TCP tells. An
 * upstream of which nothing is known yet and that cannot be asked that way is believed to, since no name that it is
 * asked for would be resolved otherwise. */
static void __attribute__((cold))
judge_spelling(struct attempts *attempts, struct attempt *attempt, enum dns_match over_tcp)
{
    size_t i = attempt_upstream(attempt);
    struct upstream *upstream = &attempts->settings.upstreams->list[i];
    if (!attempt->respelled || upstream->spelling == SPELLING_CHANGED)
        return;
    attempt->respelled = false;
    bool changes =
        over_tcp == DNS_ANSWER_RESPELLED || (over_tcp == DNS_NO_ANSWER && upstream->spelling == SPELLING_UNKNOWN);
    if (changes)
        upstream->spelling = SPELLING_CHANGED;
    if (changes || over_tcp == DNS_ANSWER)
        attempts->callbacks.suspects(attempts->callbacks.ctx, i, changes ? SUSPECT_SPELLING : SUSPECT_FORGED);
}

static void tcp_done(void *ctx, uint8_t *msg, size_t len, int error)
{
    struct attempt *attempt = ctx;
    const struct query *query = attempt->query;
    struct attempts *attempts = attempt->attempts;
    attempt->exchange = NULL; /* it ends itself */
    attempts->exchanges--;
    enum dns_match match = error ? DNS_NO_ANSWER : dns_answers(msg, len, query->packet, query->question_end);
    judge_spelling(attempts, attempt, match);
    if (!error && (match == DNS_NO_ANSWER || LDNS_TC_WIRE(msg)))
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
    int error = upstream_udp_send(attempts->udp, upstream, query->packet, query->len, &attempt->socket);
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

void attempts_send_again(struct attempts *attempts, struct query *query)
{
    for (size_t i = 0; query->awaited >> i; i++) {
        const struct attempt *attempt = &query->attempts[i];
        if (query->awaited & 1u << i && attempt->socket != QUERY_NO_SOCKET)
            upstream_udp_repeat(attempts->udp, attempt->socket, query->packet, query->len);
    }
}

void attempts_stop(struct attempts *attempts, struct attempt *attempt)
{
    attempt->query->awaited &= (uint16_t) ~(1u << attempt_upstream(attempt));
    attempt->socket = QUERY_NO_SOCKET;
    if (!attempt->exchange)
        return;
    judge_spelling(attempts, attempt, DNS_NO_ANSWER);
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

/* From now on the answer is awaited over TCP. */
static void __attribute__((cold)) turn_to_tcp(struct attempts *attempts, struct attempt *attempt)
{
    attempt->socket = QUERY_NO_SOCKET;
    int error = ask_over_tcp(attempts, attempt);
    if (error)
        attempts->callbacks.failed(attempts->callbacks.ctx, attempt, error);
}

/* Without capitals, as in the name of the root, the letters say nothing of the upstream. */
static bool has_capitals(const struct query *query)
{
    for (size_t i = DNS_HEADER_SIZE; i < query->question_end - 4u; i++)
        if (query->packet[i] >= 'A' && query->packet[i] <= 'Z')
            return true;
    return false;
}

/* Whether the letters are as they were asked, or need not be. */
static bool well_spelled(struct attempts *attempts, const struct attempt *attempt, enum dns_match match)
{
    struct upstream *upstream = &attempts->settings.upstreams->list[attempt_upstream(attempt)];
    if (!attempt->query->mixed || upstream->spelling == SPELLING_CHANGED)
        return true;
    if (match == DNS_ANSWER && upstream->spelling == SPELLING_UNKNOWN && has_capitals(attempt->query))
        upstream->spelling = SPELLING_KEPT;
    return match == DNS_ANSWER;
}

static void udp_answer(void *ctx, uint16_t socket, uint8_t *msg, size_t len, bool cut)
{
    struct attempts *attempts = ctx;
    struct attempt *attempt = len >= DNS_HEADER_SIZE ? find(attempts, LDNS_ID_WIRE(msg), socket) : NULL;
    if (!attempt)
        return;
    const struct query *query = attempt->query;
    enum dns_match match = dns_answers(msg, len, query->packet, query->question_end);
    if (match == DNS_NO_ANSWER)
        return;
    if (!well_spelled(attempts, attempt, match)) {
        attempt->respelled = true;
        turn_to_tcp(attempts, attempt);
        return;
    }
    bool final = LDNS_RCODE_WIRE(msg) == LDNS_RCODE_NOERROR || LDNS_RCODE_WIRE(msg) == LDNS_RCODE_NXDOMAIN;
    if (final && (cut || LDNS_TC_WIRE(msg))) {
        if (query_wants_all(query)) {
            turn_to_tcp(attempts, attempt);
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

/* Whoever guesses has the socket's port, and the next one as soon as it is open: the answers come over TCP. */
static void __attribute__((cold)) udp_flooded(void *ctx, uint16_t socket)
{
    struct attempts *attempts = ctx;
    struct query *query;
    for (size_t number = 0; query_walk(attempts->settings.pool, &number, &query);)
        for (size_t i = 0; query && query->awaited >> i; i++)
            if (query->awaited & 1u << i && query->attempts[i].socket == socket) {
                turn_to_tcp(attempts, &query->attempts[i]);
                break; /* a socket is one upstream's; and the query may be gone */
            }
    attempts->callbacks.suspects(attempts->callbacks.ctx, upstream_udp_owner(socket), SUSPECT_FLOOD);
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
                                         .flooded = udp_flooded,
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
