/* Clients on UDP: queries come in batches, replies leave in batches. Runs in the loop. */
#ifndef DNS_UDP_LISTENER_H
#define DNS_UDP_LISTENER_H

#include "base/ip.h"
#include "base/loop.h"
#include "dns/bulk.h"

#include <stddef.h>

#define UDP_BATCH BULK_BATCH

struct udp_listener;

struct udp_listener_callbacks {
    void *ctx;
    /* One query; `msg` may be changed and is valid until batch_end returns. */
    void (*query)(void *ctx, uint16_t listener, const struct sock_addr *peer, uint8_t *msg, size_t len);
    /* The batch is through: send what it gave rise to. */
    void (*batch_end)(void *ctx);
    /* So many datagrams were left unanswered because their sources had sent more than their share. */
    void (*left_out)(void *ctx, unsigned n);
};

/* Serves the bound socket `fd`, which it takes over. `number` is handed to the callbacks. 0 or -errno. */
int udp_listener_new(struct loop *loop, int fd, uint16_t number, const struct udp_listener_callbacks *callbacks,
                     struct udp_listener **ret);
void udp_listener_free(struct udp_listener *listener);
/* Takes no more queries; replies still go out. */
void udp_listener_quiesce(struct udp_listener *listener);
/* Queues a reply; `msg` must stay as it is until udp_listener_flush(). A full queue is flushed first. */
void udp_listener_send(struct udp_listener *listener, const struct sock_addr *peer, const uint8_t *msg, size_t len);
/* Sends what is queued, in no order: replies of one length to one client leave in bulk. */
void udp_listener_flush(struct udp_listener *listener);

#endif
