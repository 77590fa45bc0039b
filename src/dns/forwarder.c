#include "dns/forwarder.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct forwarder {
    struct loop *loop;
    struct forwarder_callbacks callbacks;
    struct upstreams upstreams;
    struct query_pool *pool;
    struct attempts *attempts;
    struct metrics *metrics;
    struct loop_timer deadline;
    bool mix_case;
};

#define SEND_AGAIN_NS NS_PER_S

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

static const char malformed[] = "upstream answered with a malformed message";

static const char *error_text(int error)
{
    if (error == -EBADMSG)
        return malformed;
    const char *text = strerrordesc_np(-error);
    return text ? text : "network error";
}

static void arm_deadline(struct forwarder *forwarder)
{
    const struct query *earliest = query_earliest(forwarder->pool);
    struct loop_timer *timer = &forwarder->deadline;
    if (earliest && (!timer->heap_at || earliest->deadline_ns < timer->due_ns))
        loop_timer_set(forwarder->loop, timer, earliest->deadline_ns);
}

/* --- asking --- */

/* We are short of something: no fault of the upstream, and no other would do better. */
static bool is_ours(int error)
{
    return error == -EMFILE || error == -ENFILE || error == -ENOMEM || error == -ENOBUFS;
}

/* Asks one upstream more. False when there is none, or when we cannot. */
static bool ask_next(struct forwarder *forwarder, struct query *query)
{
    uint64_t now = loop_now(forwarder->loop);
    for (int next; !query->alone && (next = upstreams_next(&forwarder->upstreams, query->tried, now)) >= 0;) {
        int error = attempts_start(forwarder->attempts, query, (size_t)next);
        if (!error)
            return true;
        query->error = error_text(error);
        if (is_ours(error))
            return false;
        upstreams_failed(&forwarder->upstreams, (size_t)next, now);
    }
    return false;
}

/* Asks one upstream more; when there is none, those that have been silent for a step are asked again, and have until
 * the end. */
static void carry_on(struct forwarder *forwarder, struct query *query)
{
    uint64_t step = forwarder->upstreams.step_ns, step_ends = loop_now(forwarder->loop) + step;
    bool more = ask_next(forwarder, query);
    if (!more && !query->awaited) {
        query_await_no_more(query);
        forwarder->callbacks.failed(forwarder->callbacks.ctx, query);
        return;
    }
    if (!more && !query->alone)
        more = attempts_repeat(forwarder->attempts, query, step);
    if (more && step_ends < query->end_ns)
        query_await(forwarder->pool, query, QUERY_STEP, step_ends);
    else
        query_await(forwarder->pool, query, QUERY_END, query->end_ns);
    arm_deadline(forwarder);
}

void forwarder_send(struct forwarder *forwarder, struct query *query)
{
    query->end_ns = query->started_ns + forwarder->upstreams.timeout_ns;
    if (loop_now(forwarder->loop) >= query->end_ns) { /* it waited for another one's end */
        query->error = "timeout";
        forwarder->callbacks.failed(forwarder->callbacks.ctx, query);
        return;
    }
    if (forwarder->mix_case)
        query_mix_case(forwarder->pool, query);
    carry_on(forwarder, query);
}

void forwarder_send_again(struct forwarder *forwarder, struct query *query)
{
    uint64_t now = loop_now(forwarder->loop);
    uint64_t last = query->sent_again_ns ? query->sent_again_ns : query->started_ns;
    if (now - last < SEND_AGAIN_NS)
        return;
    query->sent_again_ns = now;
    attempts_send_again(forwarder->attempts, query);
}

void forwarder_send_to(struct forwarder *forwarder, struct query *query, size_t upstream, uint64_t timeout_ns)
{
    query->end_ns = loop_now(forwarder->loop) + timeout_ns;
    query->alone = true;
    if (forwarder->mix_case)
        query_mix_case(forwarder->pool, query);
    int error = attempts_start(forwarder->attempts, query, upstream);
    if (error)
        query->error = error_text(error);
    carry_on(forwarder, query);
}

/* --- what comes of it --- */

/* Nothing more comes of this one. */
static void end_attempt(struct forwarder *forwarder, struct attempt *attempt, const char *error)
{
    attempts_stop(forwarder->attempts, attempt);
    attempt->query->error = error;
    carry_on(forwarder, attempt->query);
}

static void attempt_failed(void *ctx, struct attempt *attempt, int error)
{
    struct forwarder *forwarder = ctx;
    if (is_ours(error))
        attempt->query->alone = true;
    else
        upstreams_failed(&forwarder->upstreams, attempt_upstream(attempt), loop_now(forwarder->loop));
    end_attempt(forwarder, attempt, error_text(error));
}

/* Who was asked a step ago or more and still says nothing has failed, whoever else answers. */
static void blame_silent(struct forwarder *forwarder, const struct query *query)
{
    uint64_t now = loop_now(forwarder->loop);
    for (size_t i = 0; i < forwarder->upstreams.n; i++)
        if (query->awaited & 1u << i && query->attempts[i].asked_ns + forwarder->upstreams.step_ns <= now)
            upstreams_failed(&forwarder->upstreams, i, now);
}

static void attempt_answered(void *ctx, struct attempt *attempt, uint8_t *msg, size_t len)
{
    struct forwarder *forwarder = ctx;
    struct query *query = attempt->query;
    upstreams_answered(&forwarder->upstreams, attempt_upstream(attempt));
    unsigned rcode = LDNS_RCODE_WIRE(msg);
    if (rcode != LDNS_RCODE_NOERROR && rcode != LDNS_RCODE_NXDOMAIN) {
        end_attempt(forwarder, attempt, rcode_text(rcode));
        return;
    }
    attempts_stop(forwarder->attempts, attempt); /* a second one in the same batch is a stranger's */
    uint16_t others = query->awaited;
    blame_silent(forwarder, query);
    query->awaited = 0;
    query->upstream = (uint8_t)attempt_upstream(attempt);
    query_await_no_more(query);
    if (forwarder->callbacks.answered(forwarder->callbacks.ctx, query, msg, len))
        return;
    query->awaited = others;
    query->error = malformed;
    carry_on(forwarder, query);
}

static void suspects(void *ctx, size_t upstream, enum suspicion what)
{
    struct forwarder *forwarder = ctx;
    forwarder->callbacks.suspects(forwarder->callbacks.ctx, upstream, what);
}

static void end_batch(void *ctx)
{
    struct forwarder *forwarder = ctx;
    forwarder->callbacks.batch_end(forwarder->callbacks.ctx);
}

static void time_out(struct forwarder *forwarder, struct query *query)
{
    blame_silent(forwarder, query);
    attempts_stop_all(forwarder->attempts, query);
    query_await_no_more(query);
    query->error = "timeout";
    forwarder->callbacks.failed(forwarder->callbacks.ctx, query);
}

static void deadline_fired(struct loop_timer *timer)
{
    struct forwarder *forwarder = timer->owner;
    uint64_t now = loop_now(forwarder->loop);
    struct query *query;
    while ((query = query_earliest(forwarder->pool)) && query->deadline_ns <= now) {
        if (now >= query->end_ns)
            time_out(forwarder, query);
        else
            carry_on(forwarder, query);
    }
    end_batch(forwarder);
    arm_deadline(forwarder);
}

size_t forwarder_drop_upstream(struct forwarder *forwarder, size_t upstream)
{
    return upstreams_drop(&forwarder->upstreams, upstream);
}

bool forwarder_probed(struct forwarder *forwarder, size_t upstream, bool healthy)
{
    return upstreams_probed(&forwarder->upstreams, upstream, healthy);
}

size_t forwarder_healthy(const struct forwarder *forwarder)
{
    return upstreams_healthy(&forwarder->upstreams);
}

int forwarder_new(struct loop *loop, const struct forwarder_settings *settings,
                  const struct forwarder_callbacks *callbacks, struct forwarder **ret)
{
    struct forwarder *forwarder = calloc(1, sizeof(*forwarder));
    if (!forwarder)
        return -ENOMEM;
    forwarder->loop = loop;
    forwarder->callbacks = *callbacks;
    forwarder->metrics = settings->metrics;
    forwarder->mix_case = settings->mix_case;
    forwarder->deadline = (struct loop_timer){.fire = deadline_fired, .owner = forwarder};
    upstreams_init(&forwarder->upstreams, settings->upstreams, settings->n_upstreams, settings->timeout_ns);
    struct attempts_callbacks attempting = {
        .ctx = forwarder,
        .answered = attempt_answered,
        .failed = attempt_failed,
        .suspects = suspects,
        .batch_end = end_batch,
    };
    int error = query_pool_new(settings->capacity, forwarder->upstreams.n, &forwarder->pool);
    struct attempts_settings asking = {.upstreams = &forwarder->upstreams,
                                       .pool = forwarder->pool,
                                       .unmarked = settings->unmarked,
                                       .n_unmarked = settings->n_unmarked,
                                       .own = settings->own};
    if (!error)
        error = attempts_new(loop, &asking, &attempting, &forwarder->attempts);
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
    attempts_free(forwarder->attempts);
    query_pool_free(forwarder->pool);
    free(forwarder);
}

/* Whoever floods us with questions that nobody answers would keep everybody else away for the time that a query may
 * take. This way the others have at least as long as the flood needs to go once around the pool. */
static void make_room(struct forwarder *forwarder)
{
    struct query *query = query_oldest(forwarder->pool);
    if (!query)
        return;
    attempts_stop_all(forwarder->attempts, query);
    query_await_no_more(query);
    query->error = "too many queries under way";
    metric_add(forwarder->metrics, METRIC_DNS_LIMITED_IN_FLIGHT, 1);
    forwarder->callbacks.failed(forwarder->callbacks.ctx, query);
}

struct query *forwarder_take(struct forwarder *forwarder, const uint8_t *msg, size_t len)
{
    if (query_pool_full(forwarder->pool))
        make_room(forwarder);
    return query_take(forwarder->pool, msg, len);
}

void forwarder_release(struct forwarder *forwarder, struct query *query)
{
    attempts_stop_all(forwarder->attempts, query);
    query_release(forwarder->pool, query);
}

void forwarder_flush(struct forwarder *forwarder)
{
    attempts_flush(forwarder->attempts);
}

size_t forwarder_upstreams(const struct forwarder *forwarder)
{
    return forwarder->upstreams.n;
}

const struct upstream *forwarder_upstream(const struct forwarder *forwarder, size_t upstream)
{
    return &forwarder->upstreams.list[upstream];
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
        query_await_no_more(query);
        fn(ctx, query);
    }
}
