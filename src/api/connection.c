#include "api/connection.h"

#include "api/server.h"
#include "base/cleanup.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

struct client {
    struct api *api;
    int fd;
    struct loop_timer deadline;
    struct connection_share *share; /* NULL: shut down, it does not count any more */
    bool listed;
    struct client *older, *newer; /* in its share, while listed */
};

/* Only what is ours can be bound to (or everything, by a sysctl: then all clients are from inside). Unlike a comparison
 * with the listener's address this also tells a client inside that uses the address of another interface. */
static bool is_from_inside(const struct sockaddr *peer)
{
    struct sock_addr addr = {0};
    if (peer->sa_family == AF_INET)
        memcpy(&addr.in, peer, sizeof(addr.in));
    else
        memcpy(&addr.in6, peer, sizeof(addr.in6));
    _cleanup_close_ int fd = socket(peer->sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int off = 0;
    if (fd < 0)
        return true;
    if (peer->sa_family == AF_INET6) { /* an IPv4 client of the listener for both is ::ffff:a.b.c.d here */
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
        addr.in6.sin6_port = 0;
    } else {
        addr.in.sin_port = 0;
    }
    return bind(fd, &addr.sa, sock_addr_len(&addr)) == 0;
}

const struct sockaddr *connection_peer(struct MHD_Connection *connection)
{
    return MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS)->client_addr;
}

struct ip_addr connection_peer_ip(const struct sockaddr *peer)
{
    return peer->sa_family == AF_INET ? ip_from_v4(&((const struct sockaddr_in *)peer)->sin_addr)
                                      : ip_from_v6_socket(&((const struct sockaddr_in6 *)peer)->sin6_addr);
}

void connection_peer_format(struct MHD_Connection *connection, char out[IP_TEXT_MAX])
{
    const struct sockaddr *peer = connection_peer(connection);
    if (peer->sa_family == AF_UNIX) {
        strcpy(out, "unix");
        return;
    }
    struct ip_addr ip = connection_peer_ip(peer);
    ip_format(&ip, out);
}

static enum connection_side side_of(struct MHD_Connection *connection)
{
    const struct sockaddr *peer = connection_peer(connection);
    if (peer->sa_family == AF_UNIX)
        return CONNECTION_LOCAL;
    return is_from_inside(peer) ? CONNECTION_INSIDE : CONNECTION_OUTSIDE;
}

static void unlist(struct client *client)
{
    struct connection_share *share = client->share;
    if (!client->listed)
        return;
    *(client->older ? &client->older->newer : &share->oldest) = client->newer;
    *(client->newer ? &client->newer->older : &share->newest) = client->older;
    client->listed = false;
}

static void list_newest(struct client *client)
{
    struct connection_share *share = client->share;
    unlist(client);
    client->older = share->newest;
    client->newer = NULL;
    *(share->newest ? &share->newest->newer : &share->oldest) = client;
    share->newest = client;
    client->listed = true;
}

static void leave_share(struct client *client)
{
    if (!client->share)
        return;
    unlist(client);
    client->share->n--;
    client->share = NULL;
}

/* libmicrohttpd sees the end of the stream and closes. */
static void shut_down(struct client *client)
{
    leave_share(client);
    shutdown(client->fd, SHUT_RDWR);
}

static void on_deadline(struct loop_timer *timer)
{
    shut_down(timer->owner);
}

static struct client *client_of(struct MHD_Connection *connection)
{
    return MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
}

static void start_deadline(struct client *client)
{
    struct loop *loop = client->api->loop;
    uint64_t due_ns = loop_now(loop) + client->api->settings.request_timeout_ms * NS_PER_MS;
    if (!client->share || loop_timer_set(loop, &client->deadline, due_ns))
        shut_down(client);
    else
        list_newest(client);
}

enum connection_side connection_side(struct MHD_Connection *connection)
{
    struct client *client = client_of(connection);
    return client && client->share ? (enum connection_side)(client->share - client->api->shares) : CONNECTION_INSIDE;
}

void connection_deadline_start(struct MHD_Connection *connection)
{
    struct client *client = client_of(connection);
    if (client)
        start_deadline(client);
    else
        shutdown(MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd, SHUT_RDWR);
}

void connection_deadline_stop(struct MHD_Connection *connection)
{
    struct client *client = client_of(connection);
    if (!client)
        return;
    loop_timer_cancel(client->api->loop, &client->deadline);
    unlist(client);
}

static struct client *client_new(struct api *api, struct MHD_Connection *connection)
{
    struct client *client = calloc(1, sizeof(*client));
    if (!client)
        return NULL;
    client->api = api;
    client->fd = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    client->deadline = (struct loop_timer){.fire = on_deadline, .owner = client};
    client->share = &api->shares[side_of(connection)];
    client->share->n++;
    start_deadline(client);
    return client;
}

void connection_notify(void *cls, struct MHD_Connection *connection, void **slot,
                       enum MHD_ConnectionNotificationCode what)
{
    struct api *api = cls;
    struct client *client = *slot;
    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        *slot = client = client_new(api, connection);
        if (!client) {
            connection_deadline_start(connection);
        } else if (client->share && client->share->n > api->settings.connections) {
            shut_down(client->share->oldest); /* if need be itself */
            metric_add(api->settings.metrics, METRIC_API_LIMITED, 1);
        }
    } else if (client) {
        loop_timer_cancel(api->loop, &client->deadline);
        leave_share(client);
        api->http_pending = true;
        free(client);
        *slot = NULL;
    }
}

struct framing_count {
    unsigned lengths, codings;
    struct body_framing framing;
};

static enum MHD_Result count_header(void *cls, enum MHD_ValueKind kind, const char *name, const char *value)
{
    struct framing_count *count = cls;
    if (strcasecmp(name, MHD_HTTP_HEADER_CONTENT_LENGTH) == 0) {
        count->lengths++;
        count->framing.length = strtoull(value, NULL, 10);
    } else if (strcasecmp(name, MHD_HTTP_HEADER_TRANSFER_ENCODING) == 0) {
        count->codings++;
        if (strcasecmp(value, "chunked") != 0)
            count->framing.ambiguous = true;
    } else if (strcasecmp(name, MHD_HTTP_HEADER_EXPECT) == 0 && strcasecmp(value, "100-continue") == 0) {
        count->framing.expects_continue = true;
    }
    return MHD_YES;
}

struct body_framing connection_framing(struct MHD_Connection *connection)
{
    struct framing_count count = {0};
    MHD_get_connection_values(connection, MHD_HEADER_KIND, count_header, &count);
    if (count.lengths + count.codings > 1)
        count.framing.ambiguous = true;
    return count.framing;
}
