/* The sockets towards upstream resolvers over UDP. Each is connected to its upstream, so that the kernel lets only that
 * address and port through; a handful per upstream, replaced as they wear out, so that ports stay unpredictable
 * (RFC 5452 section 9.2). Runs in the loop. */
#ifndef DNS_UPSTREAM_UDP_H
#define DNS_UPSTREAM_UDP_H

#include "base/ip.h"
#include "base/loop.h"
#include "base/own_socket.h"
#include "dns/upstream.h"

struct upstream_udp;

struct upstream_udp_callbacks {
    void *ctx;
    /* A datagram on socket `socket`; `msg` may be changed and is valid until batch_end returns. `cut`: it was longer
     * than what we asked for. */
    void (*answer)(void *ctx, uint16_t socket, uint8_t *msg, size_t len, bool cut);
    /* The query that left as `id` on `socket` could not be delivered (an ICMP error, a failed send): -errno. */
    void (*undelivered)(void *ctx, uint16_t socket, uint16_t id, int error);
    /* Many more answers came on the socket than questions left: they are guesses, or doubled on their way. The socket
     * is closed then, and what waits for an answer on it must not wait on. */
    void (*flooded)(void *ctx, uint16_t socket);
    void (*batch_end)(void *ctx);
    uint32_t (*random)(void *ctx);
};

/* `mark_of` gives the mark for an upstream, NULL: none. */
int upstream_udp_new(struct loop *loop, const struct upstreams *upstreams,
                     const struct own_mark *(*mark_of)(void *ctx, const struct sock_addr *upstream),
                     const struct upstream_udp_callbacks *callbacks, struct upstream_udp **ret);
void upstream_udp_free(struct upstream_udp *udp);
/* Queues a query; `msg` must stay as it is until upstream_udp_flush(). 0 and the socket it will leave on, or -errno
 * when no socket can be had. */
int upstream_udp_send(struct upstream_udp *udp, size_t upstream, const uint8_t *msg, size_t len, uint16_t *ret_socket);
void upstream_udp_flush(struct upstream_udp *udp);
/* The upstream that the socket is connected to. */
size_t upstream_udp_owner(uint16_t socket);
/* Sends at once, on the socket that it left on before; what becomes of it is not told. */
void upstream_udp_repeat(struct upstream_udp *udp, uint16_t socket, const uint8_t *msg, size_t len);

#endif
