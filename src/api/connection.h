/* What libmicrohttpd leaves to its user about the clients' connections: a deadline, who makes room for whom, and
 * doubtful framing. */
#ifndef API_CONNECTION_H
#define API_CONNECTION_H

#include "base/ip.h"

#include <microhttpd.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The application shares our loopback and may hold connections for as long as a deadline lasts. So clients from inside
 * the sandbox, from outside and of the socket in the file system have a share each, and none takes anything from the
 * others. In a full share a new client gets the place of the one whose deadline began first; those whose change the
 * loop is deciding are spared. */
#define CONNECTIONS_DEFAULT 96 /* of a share; see api_settings */

struct client;

enum connection_side {
    CONNECTION_OUTSIDE,
    CONNECTION_INSIDE,
    CONNECTION_LOCAL, /* by the socket in the file system */
    CONNECTION_SIDES
};

struct connection_share {
    unsigned n;
    struct client *oldest, *newest; /* with a deadline, in the order in which those began */
    unsigned n_lookups;             /* requests that wait for the loop (explain_api.h) */
    size_t answer_bytes;            /* of large answers under way (request.h) */
};

/* MHD_NotifyConnectionCallback with the `struct api` as its `cls`. */
void connection_notify(void *cls, struct MHD_Connection *connection, void **slot,
                       enum MHD_ConnectionNotificationCode what);
/* Whose share the client is in; inside when it is in none any more. */
enum connection_side connection_side(struct MHD_Connection *connection);
const struct sockaddr *connection_peer(struct MHD_Connection *connection);
/* Of a peer that is not AF_UNIX: IPv4 as such on the listener for both. */
struct ip_addr connection_peer_ip(const struct sockaddr *peer);
/* The client's address; "unix" for the socket in the file system. */
void connection_peer_format(struct MHD_Connection *connection, char out[IP_TEXT_MAX]);
/* Starts the deadline anew; when it passes the connection is shut down. It bounds three times: waiting for and reading
 * the headers; reading the body and writing the answer; writing an answer that had to wait. libmicrohttpd's own timeout
 * counts silence only: a byte now and then would hold a connection for ever. */
void connection_deadline_start(struct MHD_Connection *connection);
void connection_deadline_stop(struct MHD_Connection *connection);

struct body_framing {
    /* Content-Length and Transfer-Encoding together, one of them twice, or an unknown coding: what this server takes
     * for the end of the body a proxy before it may not (RFC 9112 section 6.3). */
    bool ambiguous;
    uint64_t length;       /* as declared; 0 when not */
    bool expects_continue; /* the client sends no body before it is told to */
};

struct body_framing connection_framing(struct MHD_Connection *connection);

#endif
