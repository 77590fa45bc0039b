#include "dns/upstream_tcp.h"

#include "base/cleanup.h"
#include "base/wire.h"
#include "dns/message.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

struct upstream_exchange {
    struct loop *loop;
    struct loop_source source;
    upstream_tcp_done *done;
    void *ctx;
    size_t sent, received;
    size_t want;     /* bytes to receive, with the length prefix */
    uint8_t *answer; /* once its length is known */
    uint8_t prefix[2];
    size_t query_len;
    uint8_t query[]; /* with its length prefix */
};

void upstream_tcp_cancel(struct upstream_exchange *exchange)
{
    if (!exchange)
        return;
    loop_remove(exchange->loop, &exchange->source);
    close(exchange->source.fd);
    free(exchange->answer);
    free(exchange);
}

static void finish(struct upstream_exchange *exchange, int error)
{
    exchange->done(exchange->ctx, error ? NULL : exchange->answer, error ? 0 : exchange->want - 2, error);
    upstream_tcp_cancel(exchange);
}

/* 0 when all is sent, -EAGAIN when more is to come, else -errno. */
static int send_query(struct upstream_exchange *exchange)
{
    ssize_t n =
        send(exchange->source.fd, exchange->query + exchange->sent, exchange->query_len - exchange->sent, MSG_NOSIGNAL);
    if (n < 0)
        return -errno;
    exchange->sent += (size_t)n;
    return exchange->sent == exchange->query_len ? 0 : -EAGAIN;
}

/* 0 when the answer is whole, -EAGAIN when more is to come, else -errno. */
static int receive_answer(struct upstream_exchange *exchange)
{
    for (;;) {
        bool in_prefix = exchange->received < 2;
        uint8_t *to = in_prefix ? exchange->prefix + exchange->received : exchange->answer + exchange->received - 2;
        size_t room = (in_prefix ? 2 : exchange->want) - exchange->received;
        ssize_t n = recv(exchange->source.fd, to, room, 0);
        if (n <= 0)
            return n < 0 ? -errno : -ECONNRESET;
        exchange->received += (size_t)n;
        if (in_prefix && exchange->received == 2) {
            exchange->want = 2u + wire_load16(exchange->prefix);
            if (exchange->want < 2 + DNS_HEADER_SIZE)
                return -EBADMSG;
            if (!(exchange->answer = malloc(exchange->want - 2)))
                return -ENOMEM;
        }
        if (exchange->received >= 2 && exchange->received == exchange->want)
            return 0;
    }
}

static void ready(struct loop_source *source, uint32_t events)
{
    struct upstream_exchange *exchange = source->owner;
    int error = 0;
    if (exchange->sent < exchange->query_len) {
        error = send_query(exchange);
        if (!error)
            error = loop_modify(exchange->loop, source, EPOLLIN);
        if (!error)
            return;
    } else {
        error = receive_answer(exchange);
    }
    if (error != -EAGAIN)
        finish(exchange, error);
}

int upstream_tcp_start(struct loop *loop, const struct sock_addr *upstream, const struct own_mark *own,
                       const uint8_t *msg, size_t len, upstream_tcp_done *done, void *ctx,
                       struct upstream_exchange **ret)
{
    _cleanup_close_ int fd = own_socket_open(upstream->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK);
    if (fd < 0)
        return fd;
    int error = own_socket_prepare(fd, upstream->sa.sa_family, own);
    if (error)
        return error;
    if (connect(fd, &upstream->sa, sock_addr_len(upstream)) && errno != EINPROGRESS)
        return -errno;
    _cleanup_free_ struct upstream_exchange *exchange = calloc(1, sizeof(*exchange) + 2 + len);
    if (!exchange)
        return -ENOMEM;
    exchange->loop = loop;
    exchange->done = done;
    exchange->ctx = ctx;
    exchange->query_len = 2 + len;
    wire_store16(exchange->query, (uint16_t)len);
    memcpy(exchange->query + 2, msg, len);
    exchange->source = (struct loop_source){.fd = fd, .ready = ready, .owner = exchange};
    error = loop_add(loop, &exchange->source, EPOLLOUT);
    if (error)
        return error;
    take_fd(&fd);
    *ret = take_pointer(exchange);
    return 0;
}
