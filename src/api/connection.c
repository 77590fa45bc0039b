#include "api/connection.h"

#include "api/server.h"

#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>

struct client {
    struct api *api;
    int fd;
    struct loop_timer deadline;
};

/* libmicrohttpd sees the end of the stream and closes. */
static void on_deadline(struct loop_timer *timer)
{
    struct client *client = timer->owner;
    shutdown(client->fd, SHUT_RDWR);
}

static struct client *client_of(struct MHD_Connection *connection)
{
    return MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
}

void connection_deadline_start(struct MHD_Connection *connection)
{
    struct client *client = client_of(connection);
    struct loop *loop = client ? client->api->loop : NULL;
    if (!client ||
        loop_timer_set(loop, &client->deadline, loop_now(loop) + client->api->settings.request_timeout_ms * NS_PER_MS))
        shutdown(MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd, SHUT_RDWR);
}

void connection_deadline_stop(struct MHD_Connection *connection)
{
    struct client *client = client_of(connection);
    if (client)
        loop_timer_cancel(client->api->loop, &client->deadline);
}

void connection_notify(void *cls, struct MHD_Connection *connection, void **slot,
                       enum MHD_ConnectionNotificationCode what)
{
    struct client *client = *slot;
    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        client = calloc(1, sizeof(*client));
        if (client) {
            client->api = cls;
            client->fd = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
            client->deadline = (struct loop_timer){.fire = on_deadline, .owner = client};
        }
        *slot = client;
        connection_deadline_start(connection);
    } else if (client) {
        loop_timer_cancel(client->api->loop, &client->deadline);
        client->api->http_pending = true;
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
