/* Framing over TCP, in pieces of any size. A client's bytes are the messages that a reader of the whole stream finds,
 * in their order; its replies arrive whole. An upstream's answer is the first message of its stream, or an error. */
#include "base/wire.h"
#include "dns/message.h"
#include "dns/tcp_clients.h"
#include "dns/upstream_tcp.h"

#include "script.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define STREAM_MAX 16384
#define HELD_MAX 8

struct stream {
    uint8_t bytes[STREAM_MAX];
    size_t len, at; /* `at`: up to here it was compared */
};

static struct stream sent, replied;
static struct tcp_client *held[HELD_MAX];
static size_t n_held;
static bool hold, closed; /* the client is answered later; the connection has ended */

/* The next message of the stream, NULL when there is none that is whole. */
static const uint8_t *next_message(struct stream *stream, size_t *ret_len)
{
    size_t left = stream->len - stream->at;
    const uint8_t *at = stream->bytes + stream->at;
    *ret_len = left >= 2 ? wire_load16(at) : 0;
    if (left < 2 || left - 2 < *ret_len)
        return NULL;
    stream->at += 2 + *ret_len;
    return at + 2;
}

static void reply(struct tcp_client *client, const uint8_t *msg, size_t len)
{
    if (replied.len + 2 + len > STREAM_MAX)
        return;
    wire_store16(replied.bytes + replied.len, (uint16_t)len);
    memcpy(replied.bytes + replied.len + 2, msg, len);
    replied.len += 2 + len;
    tcp_client_send(client, msg, len);
}

static void take_query(void *ctx, struct tcp_client *client, uint8_t *msg, size_t len)
{
    size_t expected_len;
    const uint8_t *expected = next_message(&sent, &expected_len);
    must(expected && len == expected_len && !memcmp(msg, expected, len));
    reply(client, msg, len);
    if (hold && n_held < HELD_MAX)
        held[n_held++] = tcp_client_ref(client);
}

static void limited(void *ctx, enum tcp_limit limit)
{
}

static void nothing(void *ctx)
{
}

static void let_go(void)
{
    while (n_held)
        tcp_client_unref(held[--n_held]);
}

/* What the client reads is what was replied, as far as it goes. */
static size_t read_replies(int fd)
{
    uint8_t bytes[512];
    ssize_t n = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
    closed = n == 0 || (n < 0 && errno != EAGAIN);
    if (n <= 0)
        return 0;
    must((size_t)n <= replied.len - replied.at && !memcmp(bytes, replied.bytes + replied.at, (size_t)n));
    replied.at += (size_t)n;
    return (size_t)n;
}

static void send_piece(int fd, struct script *script)
{
    size_t len;
    const uint8_t *bytes = script_bytes(script, &len);
    if (len > STREAM_MAX - sent.len)
        return;
    memcpy(sent.bytes + sent.len, bytes, len); /* before: it may be read while it is sent */
    ssize_t n = send(fd, bytes, len, MSG_NOSIGNAL | MSG_DONTWAIT);
    sent.len += n > 0 ? (size_t)n : 0;
}

static void play_client(struct loop *loop, struct script *script)
{
    struct tcp_limits limits = {.connections = 1, .pipelined = 3, .unsent = 8192, .idle_ns = 10 * NS_PER_S};
    struct sock_addr peer = {.in = {.sin_family = AF_INET}};
    struct tcp_callbacks callbacks = {.query = take_query, .batch_end = nothing, .limited = limited};
    struct tcp_clients *clients = NULL;
    int pair[2], small = 2048;
    must(tcp_clients_new(loop, &limits, &callbacks, &clients) == 0);
    must(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair));
    setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
    must(tcp_clients_add(clients, pair[0], &peer) == 0);
    while (script->at < script->end) {
        uint8_t what = script_u8(script);
        hold = what & 8;
        if ((what & 7) < 4)
            send_piece(pair[1], script);
        else if ((what & 7) == 4)
            let_go();
        else if ((what & 7) == 5)
            world_advance((what >> 4) * NS_PER_S);
        else if ((what & 7) == 6)
            read_replies(pair[1]);
        else if (what == 0xff)
            tcp_clients_quiesce(clients);
        else
            shutdown(pair[1], SHUT_WR);
        world_turn(loop);
    }
    hold = false;
    let_go();
    for (int idle = 0; idle < 4; idle++) {
        world_turn(loop);
        if (read_replies(pair[1]))
            idle = 0;
    }
    size_t len;
    must(closed || !next_message(&sent, &len)); /* nothing that was whole is left */
    tcp_clients_free(clients);
    must(n_held == 0);
    close(pair[1]);
}

struct outcome {
    unsigned calls;
    int error;
    uint8_t msg[STREAM_MAX];
    size_t len;
};

static void take_answer(void *ctx, uint8_t *msg, size_t len, int error)
{
    struct outcome *outcome = ctx;
    outcome->calls++;
    outcome->error = error;
    outcome->len = len;
    must(len <= STREAM_MAX && !msg == !!error);
    if (msg)
        memcpy(outcome->msg, msg, len);
}

static void play_upstream(struct loop *loop, struct script *script)
{
    static struct outcome outcome;
    struct sock_addr addr = {.in = {.sin_family = AF_INET}};
    struct upstream_exchange *exchange = NULL;
    uint8_t query[300] = {0}, got[2 + sizeof(query)];
    outcome.calls = 0;
    world_pair_sockets(true);
    must(upstream_tcp_start(loop, &addr, 0, query, sizeof(query), take_answer, &outcome, &exchange) == 0);
    world_pair_sockets(false);
    int fd = world_connected();
    world_turn(loop);
    must(recv(fd, got, sizeof(got), MSG_DONTWAIT) == (ssize_t)sizeof(got) && wire_load16(got) == sizeof(query));
    while (script->at < script->end && !outcome.calls) {
        send_piece(fd, script);
        world_turn(loop);
    }
    size_t len;
    const uint8_t *expected = next_message(&sent, &len);
    bool too_short = sent.len >= 2 && wire_load16(sent.bytes) < DNS_HEADER_SIZE;
    if (too_short)
        must(outcome.calls == 1 && outcome.error);
    else if (expected)
        must(outcome.calls == 1 && !outcome.error && outcome.len == len && !memcmp(outcome.msg, expected, len));
    else
        must(!outcome.calls);
    close(fd);
    world_turn(loop);
    must(outcome.calls == 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct script script = {data, data + len};
    struct loop *loop = NULL;
    sent.len = sent.at = replied.len = replied.at = n_held = 0;
    hold = closed = false;
    world_begin();
    must(loop_new(&loop) == 0);
    if (script_u8(&script) & 1)
        play_client(loop, &script);
    else
        play_upstream(loop, &script);
    loop_free(loop);
    world_end();
    return 0;
}
