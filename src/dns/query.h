/* Queries under way: a fixed pool, found by the id they carry upstream, ordered by deadline. Pure: no socket, no clock.
 * Nothing is allocated per query. */
#ifndef DNS_QUERY_H
#define DNS_QUERY_H

#include "base/ip.h"
#include "dns/cache.h"
#include "dns/message.h"
#include "dns/upstream.h"

#include <sys/queue.h>

#define QUERY_PACKET_MAX (DNS_HEADER_SIZE + DNS_NAME_MAX + 4 + DNS_OPT_SIZE)

#define QUERY_CASE_WORDS ((DNS_NAME_MAX + 63) / 64)

#define QUERY_NO_SOCKET UINT16_MAX

struct attempts;
struct name_lookup;
struct tcp_client;
struct upstream_exchange;

enum query_purpose {
    QUERY_CLIENT,
    QUERY_LOOP_PROBE,   /* loop_probe.h */
    QUERY_HEALTH_PROBE, /* prober.h */
    QUERY_LOOKUP,       /* lookups.h */
};

/* An upstream that was asked. */
struct attempt {
    struct attempts *attempts;
    struct query *query;
    struct upstream_exchange *exchange; /* while asked over TCP */
    uint64_t asked_ns;
    uint16_t socket; /* of the UDP pool; QUERY_NO_SOCKET when no datagram is awaited */
    bool repeated;
    bool respelled; /* asked over TCP because the answer over UDP had the name in other letters */
};

struct query {
    enum query_purpose purpose;
    bool taken; /* from the pool, and not released */
    /* who asked */
    struct tcp_client *tcp;     /* a reference; NULL: over UDP */
    struct sock_addr peer;      /* UDP */
    uint16_t listener;          /* UDP */
    struct name_lookup *lookup; /* QUERY_LOOKUP */
    uint16_t client_id;
    uint16_t id;             /* upstream */
    uint16_t client_payload; /* bytes the client takes over UDP */
    /* what */
    uint16_t len;
    uint16_t question_end;
    uint16_t type;
    struct dns_edns edns;
    uint32_t generation;  /* of the policy that let it through */
    bool denied;          /* with audit: policy denies it, and that was recorded */
    bool always;          /* an always file decided, and not the policy */
    struct cache_key key; /* QUERY_CLIENT */
    bool may_be_kept;     /* its answer, in the cache */
    /* with whom it is shared, see sharing.h */
    bool shared;
    struct query *next_asker, *last_asker, *next_shared;
    uint8_t packet[QUERY_PACKET_MAX]; /* as sent upstream */
    bool mixed;                       /* the case of its letters, by these bits */
    uint64_t case_bits[QUERY_CASE_WORDS];
    /* where it is now */
    uint64_t started_ns, end_ns, deadline_ns;
    uint64_t sent_again_ns; /* 0: it was not, see forwarder_send_again() */
    uint16_t tried;         /* bit per upstream: its attempt is set */
    uint16_t awaited;       /* those of them that may still answer */
    uint8_t upstream;       /* the one asked last, or that answered */
    bool alone;             /* no other upstream is asked */
    const char *error;      /* of the latest attempt that failed; static text */
    struct query_deadlines *waits_in;
    TAILQ_ENTRY(query) deadline_link;
    struct query *next_free;
    uint16_t number, same_slot; /* in the pool; of the next with an id like this one's, private to query.c */
    struct attempt attempts[];  /* one for each upstream */
};

/* Whether an answer that was cut to fit a datagram is of no use. */
static inline bool query_wants_all(const struct query *query)
{
    return query->tcp || query->purpose == QUERY_LOOKUP;
}

/* The query is asked no more: its packet is the client's again, by id and spelling. More than once is fine. */
void query_give_back(struct query *query);

/* The number of the attempt's upstream. */
static inline size_t attempt_upstream(const struct attempt *attempt)
{
    return (size_t)(attempt - attempt->query->attempts);
}

struct query_pool;

/* For so many queries under way, each of which may be sent to so many upstreams. 0 or -ENOMEM. */
int query_pool_new(size_t capacity, size_t upstreams, struct query_pool **ret);
void query_pool_free(struct query_pool *pool);
/* A query with a copy of `msg` (QUERY_PACKET_MAX at most) and a random id that no other query under way carries,
 * written into the copy. NULL when the pool is used up. */
struct query *query_take(struct query_pool *pool, const uint8_t *msg, size_t len);
/* The query under way with this number, counted from 0, NULL when there is none now; `*number` is one more then. False
 * behind the last one. For walks during which queries come and go. */
bool query_walk(const struct query_pool *pool, size_t *number, struct query **ret);
/* Writes the letters of the question's name in random case (draft-vixie-dnsext-dns0x20): who forges an answer has to
 * guess it. What the client's case was cannot be told from the outside any more. */
void query_mix_case(struct query_pool *pool, struct query *query);
bool query_pool_full(const struct query_pool *pool);
void query_release(struct query_pool *pool, struct query *query);
/* The query under way with this id, or NULL. */
struct query *query_by_id(const struct query_pool *pool, uint16_t id);
size_t query_count(const struct query_pool *pool);

/* Sets the deadline, replacing an earlier one. Waits for a step and waits for the end are kept apart: each kind is
 * nearly all of one length, and so it costs nothing to keep it in order. */
enum query_wait { QUERY_STEP, QUERY_END };
void query_await(struct query_pool *pool, struct query *query, enum query_wait kind, uint64_t deadline_ns);
void query_await_no_more(struct query *query);
/* The query whose deadline comes first, or NULL. */
struct query *query_earliest(const struct query_pool *pool);

/* The client's query that has waited for longest, or NULL; those whose answer has come wait no more. With several
 * upstreams it is one of the oldest: steps are of one length, and so is the time that all of them have. */
struct query *query_oldest(const struct query_pool *pool);

/* A uniformly random 32-bit number from the kernel's generator, fetched in blocks. */
uint32_t query_random(struct query_pool *pool);

#endif
