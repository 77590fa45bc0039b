/* AF_XDP sockets send frames out of shared memory past every netfilter hook, and CAP_NET_RAW is enough for one. But a
 * queue of a device is one socket's at a time: whoever has it keeps all others off (xp_assign_dev(): EBUSY). So the
 * sidecar takes all of them. Nothing is sent or received over its sockets, and the way of other packets does not
 * change. They end with the process. */
#ifndef XDP_H
#define XDP_H

#include <stdbool.h>
#include <stddef.h>

#define XDP_QUEUES_MAX 32 /* of all devices but lo together */

struct xdp_queue {
    unsigned device; /* its index */
    unsigned number;
    int fd;
};

struct xdp {
    struct xdp_queue held[XDP_QUEUES_MAX];
    size_t n_held;
    int spare[XDP_QUEUES_MAX]; /* sockets of no queue yet; the last one may be `ready` to be bound */
    size_t n_spare;
    bool ready;
    void *memory; /* a page that no frame will ever be in; NULL: there are no sockets */
};

/* Makes the sockets, which takes CAP_NET_RAW: before capabilities are given up. Where that, or AF_XDP, is not there, no
 * queue will be held. */
void xdp_open(struct xdp *ret);
/* Takes the queues of devices that came, forgets those of devices that went. True when nobody else can have one of a
 * device that is up. Does not block. */
bool xdp_hold(struct xdp *xdp);
void xdp_close(struct xdp *xdp);

#endif
