/* The connections of TCP clients (RFC 7766): length-prefixed queries, pipelined, answered in any order. Connections,
 * the queries under way on one of them and the memory of unsent replies are bounded. Runs in the loop. */
#ifndef DNS_TCP_CLIENTS_H
#define DNS_TCP_CLIENTS_H

#include "base/ip.h"
#include "base/loop.h"

#include <stddef.h>

struct tcp_clients;
struct tcp_client;

/* What a limit did. */
enum tcp_limit {
    TCP_LIMIT_CONNECTIONS, /* a connection was closed, or not accepted, because there are too many */
    TCP_LIMIT_PIPELINED,   /* one has too many queries under way, and is not read from before it has fewer */
    TCP_LIMIT_UNSENT,      /* one was closed because its replies, which it does not take, found no room */
};

struct tcp_callbacks {
    void *ctx;
    /* One query; `msg` may be changed and is valid until the call returns. A callee that will answer later holds a
     * reference until then. */
    void (*query)(void *ctx, struct tcp_client *client, uint8_t *msg, size_t len);
    void (*batch_end)(void *ctx);
    void (*limited)(void *ctx, enum tcp_limit limit);
};

struct tcp_limits {
    unsigned connections; /* beyond it one of the source that has most is closed, see tcp_sources.h */
    unsigned pipelined;   /* queries under way per connection; beyond it reading stops */
    size_t unsent;        /* bytes of replies not yet taken by clients, over all connections; else it is closed */
    uint64_t idle_ns;     /* without a query under way, or for one message to arrive, or to take a reply */
};

int tcp_clients_new(struct loop *loop, const struct tcp_limits *limits, const struct tcp_callbacks *callbacks,
                    struct tcp_clients **ret);
/* Closes every connection. References must have been given back. */
void tcp_clients_free(struct tcp_clients *set);
/* Serves the socket `fd`, connected to `peer`, which is taken over. On failure it is not. */
int tcp_clients_add(struct tcp_clients *set, int fd, const struct sock_addr *peer);
/* Takes no more queries; replies still go out. */
void tcp_clients_quiesce(struct tcp_clients *set);
/* Whether replies wait for their clients to take them. */
bool tcp_clients_owe(const struct tcp_clients *set);

struct tcp_client *tcp_client_ref(struct tcp_client *client);
void tcp_client_unref(struct tcp_client *client);
/* Sends a reply; does nothing when the client is gone. Copies what the socket does not take at once. */
void tcp_client_send(struct tcp_client *client, const uint8_t *msg, size_t len);

#endif
