#include "dns/udp_listener.h"

#include "dns/message.h"
#include "dns/shares.h"

#include <errno.h>
#include <linux/sock_diag.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* A longer one would not reach every upstream over UDP either. */
#define QUERY_MAX DNS_UDP_EDNS_MAX
#define RECEIVE_BUFFER (4 << 20)
/* So many at once come only under load: at 10,000 a second it is one or two. */
#define BUSY_BATCH 16

struct udp_listener {
    struct loop *loop;
    struct loop_source source;
    bool listening;
    uint16_t number;
    struct udp_listener_callbacks callbacks;
    struct mmsghdr in[UDP_BATCH];
    struct iovec in_iov[UDP_BATCH];
    struct sock_addr peers[UDP_BATCH];
    uint8_t buffers[UDP_BATCH][QUERY_MAX];
    struct iovec out_iov[UDP_BATCH];
    struct sock_addr to[UDP_BATCH];
    unsigned n_out;
    bool one_by_one; /* the kernel takes no datagrams in bulk */
    struct bulk bulk;
    struct iovec bulk_iov[UDP_BATCH]; /* those of `out_iov` in the order of `bulk` */
    struct shares shares;
};

/* How much of a full batch each source may have, 0 for all of it. What waits behind it must neither wait for long nor
 * fill the buffer: then the kernel drops what comes, from whomever it comes. An eighth of the buffer is some 1,000
 * queries: more than honest clients have under way when the sidecar had no processor for a few milliseconds, and
 * through in some 10 ms. */
static uint8_t part_of_each(int fd)
{
    uint32_t info[SK_MEMINFO_VARS] = {0};
    socklen_t size = sizeof(info);
    if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, info, &size) || !info[SK_MEMINFO_RCVBUF])
        return 0;
    uint64_t sixteenths = (uint64_t)info[SK_MEMINFO_RMEM_ALLOC] * 16 / info[SK_MEMINFO_RCVBUF];
    return sixteenths < 2 ? 0 : sixteenths < 3 ? SHARES_PART : sixteenths < 4 ? SHARES_PART / 4 : 1;
}

static void receive(struct loop_source *source, uint32_t events)
{
    struct udp_listener *listener = source->owner;
    for (unsigned i = 0; i < UDP_BATCH; i++)
        listener->in[i].msg_hdr.msg_namelen = sizeof(listener->peers[i]);
    int n = recvmmsg(source->fd, listener->in, UDP_BATCH, MSG_DONTWAIT, NULL);
    if (n >= BUSY_BATCH)
        loop_expect_more(listener->loop);
    uint8_t part = n == UDP_BATCH ? part_of_each(source->fd) : 0;
    unsigned left_out = 0;
    if (part)
        shares_begin(&listener->shares, part);
    for (int i = 0; i < n; i++) {
        const struct mmsghdr *message = &listener->in[i];
        unsigned slot = shares_see(&listener->shares, &listener->peers[i]);
        if (part && !shares_take(&listener->shares, slot))
            left_out++;
        else if (!(message->msg_hdr.msg_flags & MSG_TRUNC) &&
                 sock_addr_port(&listener->peers[i])) /* none takes replies */
            listener->callbacks.query(listener->callbacks.ctx, listener->number, &listener->peers[i],
                                      listener->buffers[i], message->msg_len);
    }
    if (left_out)
        listener->callbacks.left_out(listener->callbacks.ctx, left_out);
    if (n > 0)
        listener->callbacks.batch_end(listener->callbacks.ctx);
}

int udp_listener_new(struct loop *loop, int fd, uint16_t number, const struct udp_listener_callbacks *callbacks,
                     struct udp_listener **ret)
{
    struct udp_listener *listener = calloc(1, sizeof(*listener));
    if (!listener)
        return -ENOMEM;
    listener->loop = loop;
    listener->number = number;
    listener->callbacks = *callbacks;
    listener->source = (struct loop_source){.fd = fd, .ready = receive, .owner = listener, .first = true};
    for (unsigned i = 0; i < UDP_BATCH; i++) {
        listener->in_iov[i] = (struct iovec){listener->buffers[i], QUERY_MAX};
        listener->in[i].msg_hdr =
            (struct msghdr){.msg_iov = &listener->in_iov[i], .msg_iovlen = 1, .msg_name = &listener->peers[i]};
    }
    int size = RECEIVE_BUFFER;
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)))
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size)); /* in a user namespace: as much as allowed */
    int error = loop_add(loop, &listener->source, EPOLLIN);
    if (error) {
        free(listener);
        return error;
    }
    listener->listening = true;
    *ret = listener;
    return 0;
}

void udp_listener_quiesce(struct udp_listener *listener)
{
    if (listener->listening)
        loop_remove(listener->loop, &listener->source);
    listener->listening = false;
}

void udp_listener_free(struct udp_listener *listener)
{
    if (!listener)
        return;
    udp_listener_quiesce(listener);
    close(listener->source.fd);
    free(listener);
}

void udp_listener_send(struct udp_listener *listener, const struct sock_addr *peer, const uint8_t *msg, size_t len)
{
    if (listener->n_out == UDP_BATCH)
        udp_listener_flush(listener);
    unsigned i = listener->n_out++;
    listener->to[i] = *peer;
    listener->out_iov[i] = (struct iovec){(void *)(uintptr_t)msg, len};
}

/* For an order in which replies of one length to one client follow one another. Its port tells a client well enough:
 * another one on the same port in between costs a bulk more. */
static uint64_t sort_key(const struct udp_listener *listener, unsigned i)
{
    return (uint64_t)sock_addr_port(&listener->to[i]) << 32 | (uint64_t)listener->out_iov[i].iov_len << 16 | i;
}

/* By insertion: batches are small, and replies to one client come one after the other as a rule. */
static void sort(uint64_t *keys, unsigned n)
{
    for (unsigned i = 1, at; i < n; i++) {
        uint64_t key = keys[i];
        for (at = i; at > 0 && keys[at - 1] > key; at--)
            keys[at] = keys[at - 1];
        keys[at] = key;
    }
}

static bool same_client(const struct sock_addr *a, const struct sock_addr *b)
{
    if (a->sa.sa_family != b->sa.sa_family || a->in.sin_port != b->in.sin_port)
        return false;
    if (a->sa.sa_family == AF_INET)
        return a->in.sin_addr.s_addr == b->in.sin_addr.s_addr;
    return IN6_ARE_ADDR_EQUAL(&a->in6.sin6_addr, &b->in6.sin6_addr) && a->in6.sin6_scope_id == b->in6.sin6_scope_id;
}

static void make_bulk(struct udp_listener *listener)
{
    uint64_t keys[UDP_BATCH];
    struct sock_addr *to[UDP_BATCH];
    unsigned n = listener->n_out;
    for (unsigned i = 0; i < n; i++)
        keys[i] = sort_key(listener, i);
    if (!listener->one_by_one)
        sort(keys, n);
    for (unsigned i = 0; i < n; i++) {
        listener->bulk_iov[i] = listener->out_iov[(uint16_t)keys[i]];
        to[i] = &listener->to[(uint16_t)keys[i]];
    }
    listener->bulk.n = 0;
    for (unsigned from = 0, end; from < n; from = end) {
        for (end = from + 1; end < n && !listener->one_by_one && same_client(to[from], to[end]);)
            end++;
        for (unsigned at = from; at < end;)
            at += bulk_add(&listener->bulk, listener->bulk_iov + at, end - at, to[at]);
    }
}

/* A reply that cannot be sent (its client is gone, the buffer is full) is lost as any datagram may be. */
static void send_one(const struct udp_listener *listener, const struct iovec *reply, const struct sock_addr *to)
{
    sendto(listener->source.fd, reply->iov_base, reply->iov_len, MSG_DONTWAIT, &to->sa, sock_addr_len(to));
}

static void retry_one_by_one(struct udp_listener *listener, const struct msghdr *bulk)
{
    if (bulk->msg_iovlen == 1)
        return;
    listener->one_by_one |= errno == EIO || errno == EINVAL;
    for (size_t i = 0; i < bulk->msg_iovlen; i++)
        send_one(listener, &bulk->msg_iov[i], bulk->msg_name);
}

static void send_all(struct udp_listener *listener)
{
    make_bulk(listener);
    for (unsigned sent = 0, n; sent < listener->bulk.n; sent += n) {
        n = bulk_send(&listener->bulk, listener->source.fd, sent);
        if (!n) {
            retry_one_by_one(listener, &listener->bulk.messages[sent].msg_hdr);
            n = 1;
        }
    }
}

void udp_listener_flush(struct udp_listener *listener)
{
    if (listener->n_out > 1)
        send_all(listener);
    else if (listener->n_out)
        send_one(listener, &listener->out_iov[0], &listener->to[0]);
    listener->n_out = 0;
}
