#include "dns/tcp_clients.h"

#include "base/wire.h"
#include "dns/message.h"
#include "dns/tcp_sources.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#define MESSAGES_AT_ONCE 4
/* Of all clients: a crowd that asks without end must not keep clients on UDP and upstreams waiting. */
#define MESSAGES_PER_TURN 256
#define MESSAGES_FOR_WAITING (MESSAGES_PER_TURN / 2) /* of these */
#define FIRST_READ 514                               /* a prefix and a message of the size that most have */

struct tcp_client {
    struct tcp_clients *set;
    struct loop_source source; /* fd -1: closed, and only references keep the memory */
    uint32_t events;           /* what epoll is asked for */
    unsigned refs;             /* queries under way */
    unsigned holds;            /* our own functions on the stack that go on after a callee ran */
    bool eof;
    struct loop_timer idle, resume;
    uint8_t *in, *out;
    size_t in_len, in_cap;
    size_t out_len, out_sent;
    struct tcp_member member;
};

struct tcp_clients {
    struct loop *loop;
    struct tcp_limits limits;
    struct tcp_callbacks callbacks;
    bool closing;               /* nothing more is read */
    struct tcp_sources sources; /* all of them */
    unsigned n;
    size_t unsent;
    uint64_t turn_ns;
    unsigned left; /* messages that may be taken in this turn */
};

static void free_if_unused(struct tcp_client *client)
{
    if (client->source.fd >= 0 || client->refs || client->holds)
        return;
    free(client->in);
    free(client);
}

static void close_client(struct tcp_client *client)
{
    struct tcp_clients *set = client->set;
    loop_remove(set->loop, &client->source);
    loop_timer_cancel(set->loop, &client->idle);
    loop_timer_cancel(set->loop, &client->resume);
    close(client->source.fd);
    client->source.fd = -1;
    tcp_sources_leave(&client->member);
    set->n--;
    set->unsent -= client->out_len - client->out_sent;
    if (!client->holds) { /* else somebody still reads a message in it */
        free(client->in);
        client->in = NULL;
    }
    free(client->out);
    client->out = NULL;
    client->in_len = client->out_len = client->out_sent = 0;
    free_if_unused(client);
}

static bool is_idle(const struct tcp_client *client)
{
    return !client->refs && !client->out_len;
}

static bool has_message(const struct tcp_client *client)
{
    return client->in_len >= 2 && client->in_len - 2 >= wire_load16(client->in);
}

/* Backpressure: a client that does not take its replies, or has enough under way, waits. */
static bool may_take(const struct tcp_client *client)
{
    return !client->set->closing && !client->out_len && client->refs < client->set->limits.pipelined;
}

/* Brings epoll in line with the state; closes a client that has nothing more to do. False when it was closed. */
static bool settle(struct tcp_client *client)
{
    if (client->eof && is_idle(client) && (client->set->closing || !has_message(client))) {
        close_client(client);
        return false;
    }
    uint32_t events = (may_take(client) && !client->eof ? EPOLLIN : 0u) | (client->out_len ? EPOLLOUT : 0u);
    if (client->events & ~events & EPOLLIN && client->refs >= client->set->limits.pipelined)
        client->set->callbacks.limited(client->set->callbacks.ctx, TCP_LIMIT_PIPELINED);
    if (events != client->events) {
        client->events = events;
        loop_modify(client->set->loop, &client->source, events);
    }
    return true;
}

static void touch(struct tcp_client *client)
{
    struct tcp_clients *set = client->set;
    loop_timer_set(set->loop, &client->idle, loop_now(set->loop) + set->limits.idle_ns);
    tcp_sources_touch(&client->member);
}

static void idle_fired(struct loop_timer *timer)
{
    struct tcp_client *client = timer->owner;
    if (client->refs && !client->out_len)
        touch(client); /* its queries have deadlines of their own */
    else
        close_client(client);
}

static void begin_turn(struct tcp_clients *set)
{
    if (set->turn_ns == loop_now(set->loop))
        return;
    set->turn_ns = loop_now(set->loop);
    set->left = MESSAGES_PER_TURN;
}

/* Hands complete messages to the callee, as long as the client may have more under way, and no more than a few at a
 * time: what the cache answers is never under way. `spare`: so many of this turn's messages are for others. */
static void take_messages(struct tcp_client *client, unsigned spare)
{
    struct tcp_clients *set = client->set;
    size_t at = 0;
    int taken = 0;
    begin_turn(set);
    while (taken < MESSAGES_AT_ONCE && set->left > spare && client->in_len - at >= 2 && may_take(client)) {
        size_t len = wire_load16(client->in + at);
        if (client->in_len - at - 2 < len)
            break;
        taken++;
        set->left--;
        set->callbacks.query(set->callbacks.ctx, client, client->in + at + 2, len);
        if (client->source.fd < 0)
            return;
        at += 2 + len;
    }
    if (at)
        memmove(client->in, client->in + at, client->in_len - at);
    client->in_len -= at;
    if (taken)
        touch(client);
}

/* Room for the message under way, or for the next one. */
static bool make_room(struct tcp_client *client)
{
    size_t need = FIRST_READ;
    if (client->in_len >= 2 && 2u + wire_load16(client->in) > need)
        need = 2u + wire_load16(client->in);
    if (need > client->in_cap) {
        uint8_t *in = realloc(client->in, need);
        if (!in)
            return false;
        client->in = in;
        client->in_cap = need;
    }
    return client->in_len < client->in_cap;
}

/* Brings the client in line with what happened to it. Messages that may be taken now are taken in this turn, or in the
 * next when it is full, but not at once: the caller may be in the middle of a batch of its own. Who waits for longer
 * comes first. */
static void carry_on(struct tcp_client *client)
{
    struct tcp_clients *set = client->set;
    if (client->source.fd < 0)
        free_if_unused(client);
    else if (settle(client) && has_message(client) && may_take(client) && !loop_timer_is_set(&client->resume))
        loop_timer_set(set->loop, &client->resume, loop_now(set->loop) + !set->left);
}

static void serve(struct tcp_client *client, unsigned spare)
{
    client->holds++; /* a callee may close it */
    take_messages(client, spare);
    client->set->callbacks.batch_end(client->set->callbacks.ctx);
    client->holds--;
    carry_on(client);
}

/* False when the connection failed. */
static bool receive(struct tcp_client *client)
{
    if (!make_room(client))
        return false;
    ssize_t n = recv(client->source.fd, client->in + client->in_len, client->in_cap - client->in_len, 0);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR;
    client->in_len += (size_t)n;
    client->eof = n == 0;
    return true;
}

static void read_messages(struct tcp_client *client, unsigned spare)
{
    /* What waits behind a full pipeline goes first; the buffer may be full of it. */
    if (has_message(client) || receive(client))
        serve(client, spare);
    else
        close_client(client);
}

static void resume_fired(struct loop_timer *timer)
{
    serve(timer->owner, 0);
}

static void write_replies(struct tcp_client *client)
{
    ssize_t n =
        send(client->source.fd, client->out + client->out_sent, client->out_len - client->out_sent, MSG_NOSIGNAL);
    if (n < 0) {
        if (errno != EAGAIN)
            close_client(client);
        return;
    }
    client->out_sent += (size_t)n;
    client->set->unsent -= (size_t)n;
    if (client->out_sent < client->out_len)
        return;
    free(client->out);
    client->out = NULL;
    client->out_len = client->out_sent = 0;
    touch(client);
    carry_on(client);
}

static void client_ready(struct loop_source *source, uint32_t events)
{
    struct tcp_client *client = source->owner;
    if (events & (EPOLLERR | EPOLLHUP))
        close_client(client);
    else if (events & EPOLLOUT)
        write_replies(client);
    else
        read_messages(client, MESSAGES_FOR_WAITING);
}

static struct tcp_client *client_of(struct tcp_member *member)
{
    return (struct tcp_client *)((char *)member - offsetof(struct tcp_client, member));
}

static unsigned burden(struct tcp_member *member)
{
    const struct tcp_client *client = client_of(member);
    return client->out_len ? TCP_STALLED : client->refs + has_message(client);
}

static void make_place(struct tcp_clients *set)
{
    if (set->n < set->limits.connections)
        return;
    close_client(client_of(tcp_sources_victim(&set->sources, burden)));
    set->callbacks.limited(set->callbacks.ctx, TCP_LIMIT_CONNECTIONS);
}

int tcp_clients_add(struct tcp_clients *set, int fd, const struct sock_addr *peer)
{
    make_place(set);
    struct tcp_client *client = calloc(1, sizeof(*client));
    if (!client)
        return -ENOMEM;
    client->set = set;
    client->events = EPOLLIN;
    client->source = (struct loop_source){.fd = fd, .ready = client_ready, .owner = client};
    client->idle = (struct loop_timer){.fire = idle_fired, .owner = client};
    client->resume = (struct loop_timer){.fire = resume_fired, .owner = client};
    int error = tcp_sources_join(&set->sources, &client->member, peer), on = 1;
    if (!error && (error = loop_add(set->loop, &client->source, EPOLLIN)))
        tcp_sources_leave(&client->member);
    if (error) {
        free(client);
        return error;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)); /* each reply is a write of its own */
    set->n++;
    touch(client);
    /* Its query came most often before it was accepted, and is taken before somebody makes room for the next one. */
    read_messages(client, 0);
    return 0;
}

int tcp_clients_new(struct loop *loop, const struct tcp_limits *limits, const struct tcp_callbacks *callbacks,
                    struct tcp_clients **ret)
{
    struct tcp_clients *set = calloc(1, sizeof(*set));
    if (!set)
        return -ENOMEM;
    set->loop = loop;
    set->limits = *limits;
    set->callbacks = *callbacks;
    *ret = set;
    return 0;
}

static void end_client(struct tcp_member *member)
{
    struct tcp_client *client = client_of(member);
    client->eof = true;
    settle(client);
}

static void drop_client(struct tcp_member *member)
{
    close_client(client_of(member));
}

void tcp_clients_quiesce(struct tcp_clients *set)
{
    set->closing = true;
    tcp_sources_each(&set->sources, end_client);
}

void tcp_clients_free(struct tcp_clients *set)
{
    if (!set)
        return;
    tcp_sources_each(&set->sources, drop_client);
    free(set);
}

bool tcp_clients_owe(const struct tcp_clients *set)
{
    return set->unsent > 0;
}

struct tcp_client *tcp_client_ref(struct tcp_client *client)
{
    client->refs++;
    return client;
}

void tcp_client_unref(struct tcp_client *client)
{
    client->refs--;
    carry_on(client);
}

/* Keeps what the socket did not take. */
static void keep_unsent(struct tcp_client *client, const struct iovec *iov, size_t skip)
{
    struct tcp_clients *set = client->set;
    size_t pending = client->out_len - client->out_sent;
    size_t more = iov[0].iov_len + iov[1].iov_len - skip;
    uint8_t *out = set->unsent + more > set->limits.unsent ? NULL : malloc(pending + more);
    if (!out) {
        set->callbacks.limited(set->callbacks.ctx, TCP_LIMIT_UNSENT);
        close_client(client);
        return;
    }
    if (pending)
        memcpy(out, client->out + client->out_sent, pending);
    size_t at = pending;
    for (int i = 0; i < 2; i++) {
        size_t cut = skip < iov[i].iov_len ? skip : iov[i].iov_len;
        memcpy(out + at, (const uint8_t *)iov[i].iov_base + cut, iov[i].iov_len - cut);
        at += iov[i].iov_len - cut;
        skip -= cut;
    }
    free(client->out);
    client->out = out;
    client->out_len = at;
    client->out_sent = 0;
    set->unsent += more;
    settle(client);
}

void tcp_client_send(struct tcp_client *client, const uint8_t *msg, size_t len)
{
    if (client->source.fd < 0)
        return;
    uint8_t prefix[2];
    wire_store16(prefix, (uint16_t)len);
    struct iovec iov[2] = {{prefix, 2}, {(void *)(uintptr_t)msg, len}};
    struct msghdr message = {.msg_iov = iov, .msg_iovlen = 2};
    ssize_t n = 0;
    if (!client->out_len) {
        n = sendmsg(client->source.fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno != EAGAIN) {
            close_client(client);
            return;
        }
    }
    size_t sent = n > 0 ? (size_t)n : 0;
    if (sent < len + 2)
        keep_unsent(client, iov, sent);
}
