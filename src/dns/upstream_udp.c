#include "dns/upstream_udp.h"

#include "base/cleanup.h"
#include "base/wire.h"
#include "dns/bulk.h"
#include "dns/message.h"

#include <errno.h>
#include <linux/errqueue.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define BATCH BULK_BATCH
#define SOCKETS_PER_UPSTREAM 16
#define BATCH_FULL (BATCH * 3 / 4) /* what is left of it is not worth a system call */
#define ANSWER_MAX 1472            /* a frame of Ethernet; we ask for 1232 at most */
#define SOCKET_BUFFER (1 << 20)
#define UNASKED_MAX 32             /* answers on a socket beyond its questions; a guess hits one of 65,536 ids */
#define LIFETIME_NS (8 * NS_PER_S) /* and up to as much again, at random */

struct slot {
    struct loop_source source; /* fd -1: not open */
    uint64_t worn_ns;          /* from then on not chosen, and closed when no answer can come any more */
    int32_t owed;              /* datagrams sent less those that came: one answer for each, more are nobody's */
    bool one_by_one;           /* the kernel or the path takes no datagrams in bulk */
};

struct upstream_udp {
    struct loop *loop;
    const struct upstreams *upstreams;
    const struct own_mark *(*mark_of)(void *ctx, const struct sock_addr *upstream);
    struct upstream_udp_callbacks callbacks;
    struct slot slots[UPSTREAMS_MAX * SOCKETS_PER_UPSTREAM];
    int chosen[UPSTREAMS_MAX]; /* the slot of this batch, -1: none yet */
    struct ready {
        uint16_t slot;
        uint32_t events;
    } ready[UPSTREAMS_MAX * SOCKETS_PER_UPSTREAM]; /* of this turn */
    unsigned n_ready;
    struct mmsghdr in[BATCH], out[BATCH];
    struct iovec in_iov[BATCH], out_iov[BATCH];
    uint16_t out_slot[BATCH];
    unsigned n_out;
    struct bulk bulk; /* made of `out` */
    uint8_t buffers[BATCH][ANSWER_MAX];
};

/* The kernel hands back the datagram that an ICMP error speaks of; its first octets are the query's id. */
static void read_errors(struct upstream_udp *udp, uint16_t socket, int fd)
{
    for (int budget = BATCH; budget; budget--) {
        uint8_t head[DNS_HEADER_SIZE];
        union {
            struct cmsghdr align;
            uint8_t room[256];
        } control;
        struct iovec iov = {head, sizeof(head)};
        struct msghdr message = {
            .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
        ssize_t n = recvmsg(fd, &message, MSG_ERRQUEUE | MSG_DONTWAIT);
        if (n < 0)
            return;
        struct cmsghdr *cmsg = CMSG_FIRSTHDR(&message);
        if (n < 2 || !cmsg || cmsg->cmsg_len < CMSG_LEN(sizeof(struct sock_extended_err)))
            continue;
        const struct sock_extended_err *error = (const void *)CMSG_DATA(cmsg);
        udp->callbacks.undelivered(udp->callbacks.ctx, socket, LDNS_ID_WIRE(head), -(int)error->ee_errno);
    }
}

static void close_slot(struct upstream_udp *udp, struct slot *slot)
{
    if (slot->source.fd < 0)
        return;
    loop_remove(udp->loop, &slot->source);
    close(slot->source.fd);
    slot->source.fd = -1;
}

/* Reads what fits behind `used` messages of the batch; returns how many came. */
static unsigned receive(struct upstream_udp *udp, uint16_t socket, unsigned used)
{
    struct slot *slot = &udp->slots[socket];
    int n = recvmmsg(slot->source.fd, udp->in + used, BATCH - used, MSG_DONTWAIT, NULL);
    slot->owed -= n > 0 ? n : 0;
    if (slot->owed < -UNASKED_MAX) { /* of these, too, none is believed */
        close_slot(udp, slot);
        udp->callbacks.flooded(udp->callbacks.ctx, socket);
        return 0;
    }
    for (unsigned i = used; n > 0 && i < used + (unsigned)n; i++)
        udp->callbacks.answer(udp->callbacks.ctx, socket, udp->buffers[i], udp->in[i].msg_len,
                              udp->in[i].msg_hdr.msg_flags & MSG_TRUNC);
    return n > 0 ? (unsigned)n : 0;
}

/* What the sockets have is one batch: it costs one transaction, and many replies to one client leave in bulk. */
static void receive_all(void *ctx)
{
    struct upstream_udp *udp = ctx;
    unsigned used = 0;
    if (!udp->n_ready)
        return;
    for (unsigned i = 0; i < udp->n_ready; i++) {
        const struct ready *ready = &udp->ready[i];
        struct slot *slot = &udp->slots[ready->slot];
        if (slot->source.fd >= 0 && ready->events & EPOLLERR)
            read_errors(udp, ready->slot, slot->source.fd);
        if (slot->source.fd < 0) /* worn and closed since */
            continue;
        if (used > BATCH_FULL) {
            udp->callbacks.batch_end(udp->callbacks.ctx);
            used = 0;
        }
        unsigned room = BATCH - used, n = receive(udp, ready->slot, used);
        used += n;
        if (n == room && room < BATCH) { /* the socket may have more, and others had more room */
            udp->callbacks.batch_end(udp->callbacks.ctx);
            used = receive(udp, ready->slot, 0);
        }
    }
    udp->n_ready = 0;
    udp->callbacks.batch_end(udp->callbacks.ctx);
}

static void note_ready(struct loop_source *source, uint32_t events)
{
    struct upstream_udp *udp = source->owner;
    uint16_t slot = (uint16_t)((struct slot *)source - udp->slots);
    udp->ready[udp->n_ready++] = (struct ready){slot, events};
}

int upstream_udp_new(struct loop *loop, const struct upstreams *upstreams,
                     const struct own_mark *(*mark_of)(void *ctx, const struct sock_addr *upstream),
                     const struct upstream_udp_callbacks *callbacks, struct upstream_udp **ret)
{
    struct upstream_udp *udp = calloc(1, sizeof(*udp));
    if (!udp)
        return -ENOMEM;
    udp->loop = loop;
    udp->upstreams = upstreams;
    udp->mark_of = mark_of;
    udp->callbacks = *callbacks;
    for (unsigned i = 0; i < BATCH; i++) {
        udp->in_iov[i] = (struct iovec){udp->buffers[i], ANSWER_MAX};
        udp->in[i].msg_hdr = (struct msghdr){.msg_iov = &udp->in_iov[i], .msg_iovlen = 1};
        udp->out[i].msg_hdr = (struct msghdr){.msg_iov = &udp->out_iov[i], .msg_iovlen = 1};
    }
    for (size_t i = 0; i < UPSTREAMS_MAX; i++)
        udp->chosen[i] = -1;
    for (size_t i = 0; i < UPSTREAMS_MAX * SOCKETS_PER_UPSTREAM; i++)
        udp->slots[i].source = (struct loop_source){.fd = -1, .ready = note_ready, .owner = udp, .first = true};
    loop_on_first_done(loop, receive_all, udp);
    *ret = udp;
    return 0;
}

void upstream_udp_free(struct upstream_udp *udp)
{
    if (!udp)
        return;
    loop_on_first_done(udp->loop, NULL, NULL);
    for (size_t i = 0; i < UPSTREAMS_MAX * SOCKETS_PER_UPSTREAM; i++)
        close_slot(udp, &udp->slots[i]);
    free(udp);
}

static int open_slot(struct upstream_udp *udp, struct slot *slot, const struct sock_addr *addr)
{
    _cleanup_close_ int fd = own_socket_open(addr->sa.sa_family, SOCK_DGRAM | SOCK_NONBLOCK);
    if (fd < 0)
        return fd;
    int error = own_socket_prepare(fd, addr->sa.sa_family, udp->mark_of(udp->callbacks.ctx, addr));
    if (error)
        return error;
    int size = SOCKET_BUFFER, on = 1;
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)))
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
    if (addr->sa.sa_family == AF_INET)
        setsockopt(fd, IPPROTO_IP, IP_RECVERR, &on, sizeof(on));
    else
        setsockopt(fd, IPPROTO_IPV6, IPV6_RECVERR, &on, sizeof(on));
    if (connect(fd, &addr->sa, sock_addr_len(addr)))
        return -errno;
    slot->source.fd = fd;
    slot->one_by_one = false;
    slot->owed = 0;
    error = loop_add(udp->loop, &slot->source, EPOLLIN);
    if (error) {
        slot->source.fd = -1;
        return error;
    }
    take_fd(&fd);
    slot->worn_ns = loop_now(udp->loop) + LIFETIME_NS + udp->callbacks.random(udp->callbacks.ctx) % LIFETIME_NS;
    return 0;
}

/* A random socket of the upstream; one that is worn is passed over while another is to be had. */
static int choose(struct upstream_udp *udp, size_t upstream)
{
    uint64_t now = loop_now(udp->loop);
    size_t first = udp->callbacks.random(udp->callbacks.ctx) % SOCKETS_PER_UPSTREAM;
    int worn = -1, error = -EMFILE;
    for (size_t k = 0; k < SOCKETS_PER_UPSTREAM; k++) {
        size_t at = upstream * SOCKETS_PER_UPSTREAM + (first + k) % SOCKETS_PER_UPSTREAM;
        struct slot *slot = &udp->slots[at];
        /* Answers may still come for as long as a query waits. */
        if (slot->source.fd >= 0 && now >= slot->worn_ns + udp->upstreams->timeout_ns + NS_PER_S)
            close_slot(udp, slot);
        if (slot->source.fd < 0)
            error = open_slot(udp, slot, &udp->upstreams->list[upstream].addr);
        if (slot->source.fd >= 0 && now < slot->worn_ns)
            return (int)at;
        if (slot->source.fd >= 0)
            worn = (int)at;
    }
    return worn >= 0 ? worn : error;
}

int upstream_udp_send(struct upstream_udp *udp, size_t upstream, const uint8_t *msg, size_t len, uint16_t *ret_socket)
{
    if (udp->n_out == BATCH)
        upstream_udp_flush(udp);
    if (udp->chosen[upstream] < 0) {
        int slot = choose(udp, upstream);
        if (slot < 0)
            return slot;
        udp->chosen[upstream] = slot;
    }
    unsigned i = udp->n_out++;
    udp->out_slot[i] = (uint16_t)udp->chosen[upstream];
    udp->out_iov[i] = (struct iovec){(void *)(uintptr_t)msg, len};
    *ret_socket = udp->out_slot[i];
    return 0;
}

struct undelivered {
    uint16_t socket, id;
    int error;
};

/* Longest first. By insertion: a batch is small, and has few lengths. */
static void sort_by_length(struct iovec *iov, unsigned n)
{
    for (unsigned i = 1, at; i < n; i++) {
        struct iovec one = iov[i];
        for (at = i; at > 0 && iov[at - 1].iov_len < one.iov_len; at--)
            iov[at] = iov[at - 1];
        iov[at] = one;
    }
}

/* Returns how many of out[from..to] are sent; what is left goes one by one, which is also how errors are told apart. */
static unsigned send_in_bulk(struct upstream_udp *udp, struct slot *slot, unsigned from, unsigned to)
{
    struct bulk *bulk = &udp->bulk;
    unsigned sent = 0;
    if (slot->one_by_one || to - from < 2)
        return 0;
    sort_by_length(udp->out_iov + from, to - from);
    bulk->n = 0;
    for (unsigned at = from; at < to;)
        at += bulk_add(bulk, &udp->out_iov[at], to - at, NULL);
    unsigned done = bulk_send(bulk, slot->source.fd, 0);
    for (unsigned i = 0; i < done; i++)
        sent += (unsigned)bulk->messages[i].msg_hdr.msg_iovlen;
    slot->one_by_one = done < bulk->n;
    slot->owed += (int32_t)sent;
    return sent;
}

/* Sends out[from..to], which all leave on one socket; collects what cannot be sent. */
static unsigned send_run(struct upstream_udp *udp, unsigned from, unsigned to, struct undelivered *ret)
{
    struct slot *slot = &udp->slots[udp->out_slot[from]];
    int fd = slot->source.fd;
    unsigned failed = 0;
    from += send_in_bulk(udp, slot, from, to);
    bool again = true; /* the error of an earlier datagram is reported once, by whichever call comes next */
    while (from < to) {
        int n = sendmmsg(fd, udp->out + from, to - from, MSG_DONTWAIT);
        if (n > 0) {
            from += (unsigned)n;
            slot->owed += n;
            again = true;
        } else if (again) {
            again = false;
        } else {
            ret[failed++] =
                (struct undelivered){udp->out_slot[from], LDNS_ID_WIRE(udp->out_iov[from].iov_base), -errno};
            from++;
        }
    }
    return failed;
}

void upstream_udp_flush(struct upstream_udp *udp)
{
    while (udp->n_out) { /* what could not be sent may be queued again, for another upstream */
        struct undelivered failed[BATCH];
        unsigned n_failed = 0;
        for (unsigned from = 0, to; from < udp->n_out; from = to) {
            for (to = from + 1; to < udp->n_out && udp->out_slot[to] == udp->out_slot[from];)
                to++;
            n_failed += send_run(udp, from, to, failed + n_failed);
        }
        udp->n_out = 0;
        for (size_t i = 0; i < udp->upstreams->n; i++)
            udp->chosen[i] = -1;
        for (unsigned i = 0; i < n_failed; i++)
            udp->callbacks.undelivered(udp->callbacks.ctx, failed[i].socket, failed[i].id, failed[i].error);
    }
}

void upstream_udp_repeat(struct upstream_udp *udp, uint16_t socket, const uint8_t *msg, size_t len)
{
    struct slot *slot = &udp->slots[socket];
    int fd = slot->source.fd;
    slot->owed++;
    if (fd >= 0 && send(fd, msg, len, MSG_DONTWAIT) < 0)
        send(fd, msg, len, MSG_DONTWAIT); /* the error was an earlier datagram's */
}

size_t upstream_udp_owner(uint16_t socket)
{
    return socket / SOCKETS_PER_UPSTREAM;
}
