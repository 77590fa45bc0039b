/* Queries under way: a fixed pool, found by the id they carry upstream, ordered by deadline. Pure: no socket, no clock.
 * Nothing is allocated per query, but for the rare one that does not fit QUERY_INLINE. */
#ifndef DNS_QUERY_H
#define DNS_QUERY_H

#include "base/ip.h"
#include "dns/message.h"

#include <sys/queue.h>

#define QUERY_INLINE 320   /* a header, the longest name, and an EDNS record with a cookie */
#define QUERY_LARGE_MAX 64 /* queries longer than that, at once */

#define QUERY_NO_SOCKET UINT16_MAX

struct forwarder;
struct tcp_client;
struct upstream_exchange;

struct query {
    /* who asked */
    struct tcp_client *tcp; /* a reference; NULL: over UDP */
    struct sock_addr peer;  /* UDP */
    uint16_t listener;      /* UDP */
    uint16_t client_id;
    uint16_t id;             /* upstream */
    uint16_t client_payload; /* bytes the client takes over UDP */
    /* what */
    uint16_t len;
    uint16_t question_end;
    uint16_t type;
    struct dns_edns edns;
    uint32_t generation; /* of the policy that let it through */
    bool probe;          /* nobody asked: see loop_probe.h */
    uint8_t *packet;     /* as sent upstream */
    uint8_t inline_packet[QUERY_INLINE];
    /* where it is now */
    uint64_t started_ns, deadline_ns;
    uint16_t tried;                     /* bit per upstream */
    uint8_t upstream;                   /* the one asked now */
    uint16_t socket;                    /* of the UDP pool; QUERY_NO_SOCKET while no datagram is awaited */
    struct upstream_exchange *exchange; /* while asked over TCP */
    const char *error;                  /* of the latest attempt; static text */
    struct forwarder *forwarder;
    bool waiting;
    TAILQ_ENTRY(query) deadline_link;
    struct query *next_free;
};

struct query_pool;

int query_pool_new(size_t capacity, struct query_pool **ret);
void query_pool_free(struct query_pool *pool);
/* A query with a copy of `msg` and a random id that no other query under way carries, written into the copy.
 * NULL when the pool is used up. */
struct query *query_take(struct query_pool *pool, const uint8_t *msg, size_t len);
void query_release(struct query_pool *pool, struct query *query);
/* A new id for the next attempt, so that a late answer to an earlier one is a stranger's. */
void query_renew_id(struct query_pool *pool, struct query *query);
/* The query under way with this id, or NULL. */
struct query *query_by_id(const struct query_pool *pool, uint16_t id);
size_t query_count(const struct query_pool *pool);

/* Sets the deadline, replacing an earlier one. */
void query_await(struct query_pool *pool, struct query *query, uint64_t deadline_ns);
void query_await_no_more(struct query_pool *pool, struct query *query);
/* The query whose deadline comes first, or NULL. */
struct query *query_earliest(const struct query_pool *pool);

/* A uniformly random 32-bit number from the kernel's generator, fetched in blocks. */
uint32_t query_random(struct query_pool *pool);

#endif
