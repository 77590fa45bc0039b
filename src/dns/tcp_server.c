#include "dns/tcp_server.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LISTENERS_MAX 4
#define ACCEPTS_PER_TURN 16
#define ACCEPT_PAUSE_NS (100 * NS_PER_MS)

struct tcp_server {
    struct loop *loop;
    struct tcp_clients *clients;
    struct loop_source listeners[LISTENERS_MAX];
    size_t n;
    bool listening;
    struct loop_timer accept_again;
};

static void set_accepting(struct tcp_server *server, bool on)
{
    for (size_t i = 0; i < server->n; i++)
        loop_modify(server->loop, &server->listeners[i], on ? EPOLLIN : 0);
}

static void accept_again_fired(struct loop_timer *timer)
{
    set_accepting(timer->owner, true);
}

static void listener_ready(struct loop_source *source, uint32_t events)
{
    struct tcp_server *server = source->owner;
    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        struct sock_addr peer;
        memset(&peer, 0, sizeof(peer)); /* all of the union, which an initializer need not */
        socklen_t size = sizeof(peer);
        int fd = accept4(source->fd, &peer.sa, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)) {
            /* Level-triggered: without a pause the loop would spin on what it cannot accept. */
            set_accepting(server, false);
            loop_timer_set(server->loop, &server->accept_again, loop_now(server->loop) + ACCEPT_PAUSE_NS);
        }
        if (fd < 0)
            return;
        if (tcp_clients_add(server->clients, fd, &peer))
            close(fd);
    }
}

static void stop_listening(struct tcp_server *server)
{
    loop_timer_cancel(server->loop, &server->accept_again);
    for (size_t i = 0; server->listening && i < server->n; i++)
        loop_remove(server->loop, &server->listeners[i]);
    server->listening = false;
}

int tcp_server_new(struct loop *loop, const int *fds, size_t n, const struct tcp_limits *limits,
                   const struct tcp_callbacks *callbacks, struct tcp_server **ret)
{
    if (n > LISTENERS_MAX)
        return -E2BIG;
    struct tcp_server *server = calloc(1, sizeof(*server));
    if (!server)
        return -ENOMEM;
    server->loop = loop;
    server->accept_again = (struct loop_timer){.fire = accept_again_fired, .owner = server};
    server->listening = true;
    int error = tcp_clients_new(loop, limits, callbacks, &server->clients);
    for (size_t i = 0; i < n && !error; i++) {
        server->listeners[i] = (struct loop_source){.fd = fds[i], .ready = listener_ready, .owner = server};
        error = loop_add(loop, &server->listeners[i], EPOLLIN);
        server->n += !error;
    }
    if (error) {
        stop_listening(server);
        tcp_clients_free(server->clients);
        free(server);
        return error;
    }
    *ret = server;
    return 0;
}

void tcp_server_quiesce(struct tcp_server *server)
{
    stop_listening(server);
    tcp_clients_quiesce(server->clients);
}

bool tcp_server_owes(const struct tcp_server *server)
{
    return tcp_clients_owe(server->clients);
}

void tcp_server_free(struct tcp_server *server)
{
    if (!server)
        return;
    stop_listening(server);
    tcp_clients_free(server->clients);
    for (size_t i = 0; i < server->n; i++)
        close(server->listeners[i].fd);
    free(server);
}
