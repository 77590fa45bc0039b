#include "dns/replies.h"

void replies_flush(struct replies *replies)
{
    for (size_t i = 0; i < replies->n_listeners; i++)
        udp_listener_flush(replies->listeners[i]);
    replies->used = 0;
}

void replies_send(struct replies *replies, const struct client *client, const uint8_t *msg, size_t len)
{
    if (client->tcp) {
        tcp_client_send(client->tcp, msg, len);
        return;
    }
    udp_listener_send(replies->listeners[client->listener], client->peer, msg, len);
    if (msg == replies->made + replies->used)
        replies->used += (len + 7) & ~(size_t)7;
}

uint8_t *replies_room(struct replies *replies, size_t size)
{
    if (replies->used + size > REPLIES_BYTES)
        replies_flush(replies);
    return replies->made + replies->used;
}

void replies_error(struct replies *replies, const struct client *client, const uint8_t *query, unsigned rcode)
{
    uint8_t *msg = replies_room(replies, DNS_REPLY_MAX);
    replies_send(replies, client, msg, dns_reply_header(query, rcode, msg));
}

void replies_empty(struct replies *replies, const struct client *client, const uint8_t *query, size_t question_end,
                   const struct dns_edns *edns, unsigned rcode, int ede, const char *text)
{
    uint8_t *msg = replies_room(replies, DNS_REPLY_MAX);
    replies_send(replies, client, msg, dns_reply_empty(query, question_end, edns, rcode, ede, text, msg));
}
