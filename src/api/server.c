#include "api/server.h"

#include "api/connection.h"
#include "api/explain_api.h"
#include "api/router.h"
#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#define REQUEST_TIMEOUT_MS 30000
#define CONNECTION_MEMORY 32768u /* request line and headers, and the pieces in which bodies come */
#define BODIES_MAX (16u << 20)   /* bytes of all bodies in memory at once */
#define DISCARD_MAX (8u << 20)   /* how much of an unwanted body is read so that the client can see its answer */

void server_resume(struct request *request)
{
    if (!request->suspended)
        return;
    request->suspended = false;
    connection_deadline_start(request->connection);
    MHD_resume_connection(request->connection);
    request->api->http_pending = true;
}

static enum MHD_Result send_answer(struct api *api, struct request *request)
{
    if (!request->response)
        return MHD_NO;
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(request->connection, MHD_CONNECTION_INFO_DAEMON);
    if (api->stopping || info->daemon == api->servers[SERVER_RETIRED].http)
        request_answer_header(request, MHD_HTTP_HEADER_CONNECTION, "close");
    request->sent = true;
    router_account(api, request);
    return MHD_queue_response(request->connection, request->status, request->response);
}

/* Runs the handler once; then sends the answer when there is one. */
static enum MHD_Result proceed(struct api *api, struct request *request)
{
    request_handler *handle = request->handle;
    request->handle = NULL;
    if (handle)
        handle(api, request);
    if (request->status)
        return send_answer(api, request);
    request->suspended = true;
    connection_deadline_stop(request->connection);
    MHD_suspend_connection(request->connection);
    return MHD_YES;
}

/* Headers are complete. An answer that needs no body still waits until the body is read, because closing on unread
 * bytes resets the connection and the client may lose the answer; but not when the client itself waits, when the end of
 * the body is in doubt, or when there is too much of it. */
static enum MHD_Result begin(struct api *api, struct request *request, const char *path)
{
    connection_deadline_start(request->connection);
    struct body_framing framing = connection_framing(request->connection);
    if (framing.ambiguous) {
        request_answer_line(request, MHD_HTTP_BAD_REQUEST, "ambiguous length of the request body");
        request_answer_header(request, MHD_HTTP_HEADER_CONNECTION, "close");
        return send_answer(api, request);
    }
    router_dispatch(api, request, path);
    if (request->wants_body && framing.length > BODY_MAX)
        request->body_fault = BODY_TOO_LARGE;
    bool settled = !request->wants_body || request->body_fault;
    if (settled && (framing.expects_continue || framing.length > DISCARD_MAX))
        return proceed(api, request);
    return MHD_YES;
}

static bool take_body(struct api *api, struct request *request, const char *data, size_t len)
{
    request->received += len;
    if (!request->wants_body || request->body_fault)
        return request->received <= DISCARD_MAX;
    if (request->received > BODY_MAX)
        request->body_fault = BODY_TOO_LARGE;
    else if (api->body_bytes + len > BODIES_MAX)
        request->body_fault = BODY_NO_ROOM;
    else {
        buf_append(&request->body, data, len);
        api->body_bytes += len;
        return !request->body.failed;
    }
    api->body_bytes -= request->body.len;
    buf_done(&request->body);
    return true;
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *connection, const char *url, const char *method,
                                  const char *version, const char *data, size_t *data_len, void **slot)
{
    struct api *api = cls;
    struct request *request = *slot;
    if (!request) {
        if (request_new(api, connection, method, &request))
            return MHD_NO;
        *slot = request;
        api->n_requests++;
        return begin(api, request, url);
    }
    if (*data_len == 0)
        return proceed(api, request);
    size_t len = *data_len;
    *data_len = 0;
    return take_body(api, request, data, len) ? MHD_YES : MHD_NO;
}

static void end_if_done(struct api *api)
{
    if (api->stopping && (api->n_requests == 0 || (api->out_of_time && !api->changes.busy && !api->n_lookups)))
        loop_stop(api->loop);
}

static void on_completed(void *cls, struct MHD_Connection *connection, void **slot, enum MHD_RequestTerminationCode how)
{
    struct api *api = cls;
    struct request *request = *slot;
    if (!request)
        return;
    if (!request->sent)
        router_account(api, request);
    *slot = NULL;
    api->n_requests--;
    api->body_bytes -= request->body.len;
    request_free(request);
    connection_deadline_start(connection); /* for the next request */
    end_if_done(api);
}

/* libmicrohttpd may have work left that no descriptor announces. */
static void run_http(struct http_server *server)
{
    struct api *api = server->api;
    MHD_run(server->http);
    MHD_UNSIGNED_LONG_LONG wait_ms;
    if (MHD_get_timeout(server->http, &wait_ms) == MHD_YES)
        loop_timer_set(api->loop, &server->again, loop_now(api->loop) + wait_ms * NS_PER_MS);
    end_if_done(api);
}

static void on_http_ready(struct loop_source *source, uint32_t events)
{
    run_http(source->owner);
}

static void on_http_again(struct loop_timer *timer)
{
    run_http(timer->owner);
}

static void stop_server(struct http_server *server)
{
    if (!server->http)
        return;
    loop_timer_cancel(server->api->loop, &server->again);
    loop_remove(server->api->loop, &server->ready);
    MHD_stop_daemon(server->http);
    server->http = NULL;
}

static void stop_retired(struct api *api)
{
    struct http_server *retired = &api->servers[SERVER_RETIRED];
    if (retired->http && !MHD_get_daemon_info(retired->http, MHD_DAEMON_INFO_CURRENT_CONNECTIONS)->num_connections)
        stop_server(retired);
}

static void on_turn_end(void *ctx)
{
    struct api *api = ctx;
    while (api->http_pending) {
        api->http_pending = false;
        for (size_t i = 0; i < SERVERS; i++)
            if (api->servers[i].http)
                run_http(&api->servers[i]);
    }
    stop_retired(api);
}

static void on_out_of_time(struct loop_timer *timer)
{
    struct api *api = timer->owner;
    api->out_of_time = true;
    change_cancel_waiting(api);
    explain_api_cancel_waiting(api);
    end_if_done(api);
}

static void on_stop(struct mail *mail, void *ctx)
{
    struct api *api = ctx;
    loop_timer_cancel(api->loop, &api->tls.look);
    for (size_t i = 0; i < SERVERS; i++)
        if (i != SERVER_RETIRED && api->servers[i].http)
            close(MHD_quiesce_daemon(api->servers[i].http)); /* the listener */
    api->stopping = true;
    events_api_stop(api);
    api->http_pending = true; /* what has arrived is still taken up */
    if (loop_timer_set(api->loop, &api->stop_deadline, loop_now(api->loop) + api->stop_timeout_ns))
        on_out_of_time(&api->stop_deadline);
}

static void *thread_main(void *arg)
{
    struct api *api = arg;
    pthread_setname_np(pthread_self(), "api"); /* another thread's name is a file that may be out of reach */
    loop_run(api->loop);
    return NULL;
}

static void api_free(struct api *api)
{
    if (!api)
        return;
    for (size_t i = 0; i < SERVERS; i++)
        if (api->servers[i].http)
            MHD_stop_daemon(api->servers[i].http);
    cleanup_close(&api->settings.listen_fd);
    cleanup_close(&api->settings.local_fd);
    if (api->settings.recent)
        recent_call(api->settings.recent, NULL, NULL);
    mailbox_free(api->mailbox);
    loop_free(api->loop);
    current_done(&api->current);
    effective_unref(api->effective);
    free(api);
}

DEFINE_CLEANUP(struct api, cleanup_api, api_free);

/* A path or argument with an encoded NUL stays as it is: what reads it as a C string would see another one. */
static size_t unescape(void *cls, struct MHD_Connection *connection, char *text)
{
    return strstr(text, "%00") ? strlen(text) : MHD_http_unescape(text);
}

/* Takes the listener over. */
static int start_http(struct api *api, enum server_place place, int *listener, struct why *why)
{
    struct http_server *server = &api->servers[place];
    if (*listener < 0)
        return 0;
    *server = (struct http_server){.api = api, .again = {.fire = on_http_again, .owner = server}};
    /* Those that were shut down are still there until libmicrohttpd has looked at them; it accepts 10 in between. */
    unsigned connections = 2 * api->settings.connections + 16;
    _cleanup_tls_texts_ struct tls_texts texts = {0};
    bool tls = place == SERVER_ADDRESS && api->settings.tls.certificate;
    int error = tls ? tls_read(&api->settings.tls, &texts, why) : 0;
    if (error)
        return error;
    struct MHD_OptionItem items[] = {
        {tls ? MHD_OPTION_HTTPS_MEM_CERT : MHD_OPTION_END, 0, texts.certificate.data},
        {MHD_OPTION_HTTPS_MEM_KEY, 0, texts.key.data},
        {MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)TLS_PRIORITIES},
        {texts.client_ca.data ? MHD_OPTION_HTTPS_MEM_TRUST : MHD_OPTION_END, 0, texts.client_ca.data},
        {MHD_OPTION_END, 0, NULL},
    };
    unsigned flags = MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | (tls ? MHD_USE_TLS : 0);
    server->http = MHD_start_daemon(
        flags, 0, NULL, NULL, on_request, api, MHD_OPTION_LISTEN_SOCKET, *listener, MHD_OPTION_CONNECTION_LIMIT,
        connections, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY, MHD_OPTION_NOTIFY_CONNECTION,
        connection_notify, api, MHD_OPTION_NOTIFY_COMPLETED, on_completed, api, MHD_OPTION_STRICT_FOR_CLIENT, 1,
        MHD_OPTION_UNESCAPE_CALLBACK, unescape, NULL, MHD_OPTION_ARRAY, items, MHD_OPTION_END);
    if (!server->http)
        return why_set(why, -EIO, "cannot start the HTTP server");
    *listener = -1;
    server->ready = (struct loop_source){
        .fd = MHD_get_daemon_info(server->http, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd,
        .ready = on_http_ready,
        .owner = server,
    };
    error = loop_add(api->loop, &server->ready, EPOLLIN);
    return error ? why_set(why, error, "cannot start the HTTP server: %s", strerror(-error)) : 0;
}

int server_renew_tls(struct api *api, struct why *why)
{
    struct http_server *now = &api->servers[SERVER_ADDRESS], *retired = &api->servers[SERVER_RETIRED];
    if (retired->http)
        return -EAGAIN;
    /* Both listen for a moment: no connection is refused in between. */
    int listener = fcntl(MHD_get_daemon_info(now->http, MHD_DAEMON_INFO_LISTEN_FD)->listen_fd, F_DUPFD_CLOEXEC, 0);
    if (listener < 0)
        return why_set(why, -errno, "cannot start the HTTP server: %s", strerrordesc_np(errno));
    loop_timer_cancel(api->loop, &now->again);
    loop_remove(api->loop, &now->ready);
    struct http_server before = *now; /* with its timer at rest */
    *now = (struct http_server){0};
    int error = start_http(api, SERVER_ADDRESS, &listener, why);
    struct http_server *home = error ? now : retired;
    if (error && now->http)
        MHD_stop_daemon(now->http);
    *home = before;
    home->ready.owner = home->again.owner = home;
    int again = loop_add(api->loop, &home->ready, EPOLLIN);
    if (!error)
        close(MHD_quiesce_daemon(retired->http));
    api->http_pending = true;
    return error ? error : again;
}

int api_start(const struct api_settings *settings, const struct api_hooks *hooks, struct policy *initial,
              struct log *log, struct api **ret, struct why *why)
{
    _cleanup_(cleanup_api) struct api *api = calloc(1, sizeof(*api));
    if (!api) {
        close(settings->listen_fd);
        close(settings->local_fd);
        return why_set(why, -ENOMEM, "cannot start the HTTP server: out of memory");
    }
    api->settings = *settings;
    if (!api->settings.request_timeout_ms)
        api->settings.request_timeout_ms = REQUEST_TIMEOUT_MS;
    if (!api->settings.connections)
        api->settings.connections = CONNECTIONS_DEFAULT;
    api->hooks = *hooks;
    api->log = log;
    change_queue_init(api);
    events_api_init(api);
    api->stop_deadline = (struct loop_timer){.fire = on_out_of_time, .owner = api};
    api->stop.deliver = on_stop;
    api->current.enforcement_mode = settings->enforcement_mode;
    current_set(&api->current, initial);
    int error = getrandom(&api->guesses.key, sizeof(api->guesses.key), 0) < 0 ? -errno : loop_new(&api->loop);
    if (!error)
        error = mailbox_new(api->loop, api, &api->mailbox);
    if (error)
        return why_set(why, error, "cannot start the HTTP server: %s", strerror(-error));
    loop_on_turn_end(api->loop, on_turn_end, api);
    error = start_http(api, SERVER_ADDRESS, &api->settings.listen_fd, why);
    if (!error)
        error = start_http(api, SERVER_LOCAL, &api->settings.local_fd, why);
    if (error)
        return error;
    if (api->settings.tls.certificate && api->settings.listen_fd < 0 && api->servers[SERVER_ADDRESS].http)
        tls_watch_start(api);
    error = -pthread_create(&api->thread, NULL, thread_main, api);
    if (error)
        return why_set(why, error, "cannot start the HTTP server's thread: %s", strerror(-error));
    *ret = take_pointer(api);
    return 0;
}

void api_stop(struct api *api, unsigned timeout_ms)
{
    api->stop_timeout_ns = timeout_ms * NS_PER_MS;
    mailbox_post(api->mailbox, &api->stop);
    pthread_join(api->thread, NULL);
    api_free(api);
}
