/* The listening TCP sockets. Runs in the loop. */
#ifndef DNS_TCP_SERVER_H
#define DNS_TCP_SERVER_H

#include "dns/tcp_clients.h"

struct tcp_server;

/* Serves the listening sockets, which it takes over, when there is no error. 0 or -errno. */
int tcp_server_new(struct loop *loop, const int *fds, size_t n, const struct tcp_limits *limits,
                   const struct tcp_callbacks *callbacks, struct tcp_server **ret);
void tcp_server_free(struct tcp_server *server);
/* Takes no more connections and no more queries; replies still go out. */
void tcp_server_quiesce(struct tcp_server *server);
/* Whether replies wait for their clients to take them. */
bool tcp_server_owes(const struct tcp_server *server);

#endif
