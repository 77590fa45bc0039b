/* One query to an upstream resolver over TCP (RFC 7766): for what does not fit into a datagram. One connection an
 * exchange. Runs in the loop; the deadline is the caller's. */
#ifndef DNS_UPSTREAM_TCP_H
#define DNS_UPSTREAM_TCP_H

#include "base/ip.h"
#include "base/loop.h"
#include "base/own_socket.h"

#include <stddef.h>

struct upstream_exchange;

/* Called once: with the answer, which may be changed and is valid until the call returns, or with `error` (negative
 * errno) and no message. The exchange is gone when the call returns. */
typedef void upstream_tcp_done(void *ctx, uint8_t *msg, size_t len, int error);

/* Sends `msg` (copied) to `upstream`. 0 or -errno, and then `done` is not called. */
int upstream_tcp_start(struct loop *loop, const struct sock_addr *upstream, const struct own_mark *own,
                       const uint8_t *msg, size_t len, upstream_tcp_done *done, void *ctx,
                       struct upstream_exchange **ret);
/* Ends it without a call of `done`; NULL is fine. */
void upstream_tcp_cancel(struct upstream_exchange *exchange);

#endif
