/* The way back to clients: over the UDP listener or the TCP connection that the query came by. Replies that we make
 * ourselves are kept here until their batch leaves. */
#ifndef DNS_REPLIES_H
#define DNS_REPLIES_H

#include "dns/reply.h"
#include "dns/tcp_server.h"
#include "dns/udp_listener.h"

#define UDP_LISTENERS_MAX 4
#define REPLIES_BYTES 65536

/* Whom a reply goes to. */
struct client {
    struct tcp_client *tcp; /* NULL: UDP */
    uint16_t listener;
    const struct sock_addr *peer;
};

struct replies {
    struct udp_listener *listeners[UDP_LISTENERS_MAX]; /* borrowed */
    size_t n_listeners;
    uint8_t made[REPLIES_BYTES]; /* queued with a listener and not sent */
    size_t used;
};

/* Room for one reply of our own, REPLIES_BYTES at most: it is taken when that reply is sent, until replies_flush(). */
uint8_t *replies_room(struct replies *replies, size_t size);
/* `msg` must stay as it is until replies_flush(). */
void replies_send(struct replies *replies, const struct client *client, const uint8_t *msg, size_t len);
/* A header with an error, for a query that could not be read (dns_reply_header). */
void replies_error(struct replies *replies, const struct client *client, const uint8_t *query, unsigned rcode);
/* The question without an answer (dns_reply_empty). */
void replies_empty(struct replies *replies, const struct client *client, const uint8_t *query, size_t question_end,
                   const struct dns_edns *edns, unsigned rcode, int ede, const char *text);
void replies_flush(struct replies *replies);

#endif
