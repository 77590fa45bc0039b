#include "dns/replies.h"

void replies_flush(struct replies *replies)
{
    for (size_t i = 0; i < replies->n_listeners; i++)
        udp_listener_flush(replies->listeners[i]);
    replies->n_made = 0;
}

void replies_send(struct replies *replies, const struct client *client, const uint8_t *msg, size_t len)
{
    if (client->tcp)
        tcp_client_send(client->tcp, msg, len);
    else
        udp_listener_send(replies->listeners[client->listener], client->peer, msg, len);
}

uint8_t *replies_room(struct replies *replies)
{
    if (replies->n_made == REPLIES_MAX)
        replies_flush(replies);
    return replies->made[replies->n_made++];
}

void replies_error(struct replies *replies, const struct client *client, const uint8_t *query, unsigned rcode)
{
    uint8_t *msg = replies_room(replies);
    replies_send(replies, client, msg, dns_reply_header(query, rcode, msg));
}

void replies_empty(struct replies *replies, const struct client *client, const uint8_t *query, size_t question_end,
                   const struct dns_edns *edns, unsigned rcode, int ede, const char *text)
{
    uint8_t *msg = replies_room(replies);
    replies_send(replies, client, msg, dns_reply_empty(query, question_end, edns, rcode, ede, text, msg));
}
