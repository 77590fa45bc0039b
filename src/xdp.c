#include "xdp.h"

#include "base/ip.h"

#include <errno.h>
#include <linux/if_xdp.h>
#include <net/if.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define MEMORY 4096u

void xdp_open(struct xdp *ret)
{
    *ret = (struct xdp){.n_held = 0};
    void *memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return;
    ret->memory = memory;
    while (ret->n_spare < XDP_QUEUES_MAX) {
        int fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
        if (fd < 0)
            break;
        ret->spare[ret->n_spare++] = fd;
    }
}

void xdp_close(struct xdp *xdp)
{
    while (xdp->n_spare)
        close(xdp->spare[--xdp->n_spare]);
    while (xdp->n_held)
        close(xdp->held[--xdp->n_held].fd);
    if (xdp->memory)
        munmap(xdp->memory, MEMORY);
    xdp->memory = NULL;
}

/* What a socket must have before it can be bound: memory for frames, and rings, of one entry each. */
static int make_ready(int fd, void *memory)
{
    static const int rings[] = {XDP_UMEM_FILL_RING, XDP_UMEM_COMPLETION_RING, XDP_TX_RING};
    struct xdp_umem_reg frames = {.addr = (uintptr_t)memory, .len = MEMORY, .chunk_size = MEMORY};
    if (setsockopt(fd, SOL_XDP, XDP_UMEM_REG, &frames, sizeof(frames)))
        return -errno;
    int entries = 1;
    for (size_t i = 0; i < sizeof(rings) / sizeof(rings[0]); i++)
        if (setsockopt(fd, SOL_XDP, rings[i], &entries, sizeof(entries)))
            return -errno;
    return 0;
}

/* XDP_COPY: the driver is not asked for anything. -EINVAL: the device has no such queue. -EBUSY: it is another's. */
static int take(struct xdp *xdp, unsigned device, unsigned queue)
{
    if (!xdp->n_spare)
        return -EMFILE;
    int fd = xdp->spare[xdp->n_spare - 1];
    int error = xdp->ready ? 0 : make_ready(fd, xdp->memory);
    if (error)
        return error;
    xdp->ready = true;
    struct sockaddr_xdp where = {
        .sxdp_family = AF_XDP, .sxdp_flags = XDP_COPY, .sxdp_ifindex = device, .sxdp_queue_id = queue};
    if (bind(fd, (const struct sockaddr *)&where, sizeof(where)))
        return -errno;
    xdp->n_spare--;
    xdp->ready = false;
    xdp->held[xdp->n_held++] = (struct xdp_queue){.device = device, .number = queue, .fd = fd};
    return 0;
}

static bool holds(const struct xdp *xdp, unsigned device, unsigned queue)
{
    for (size_t i = 0; i < xdp->n_held; i++)
        if (xdp->held[i].device == device && xdp->held[i].number == queue)
            return true;
    return false;
}

static bool hold_device(struct xdp *xdp, unsigned device)
{
    int error = 0;
    unsigned queue = 0;
    for (; !error; queue++)
        error = holds(xdp, device, queue) ? 0 : take(xdp, device, queue);
    /* The one after the last is missing. A device that is down sends nothing; one that vanished neither. */
    return (error == -EINVAL && queue > 1) || error == -ENETDOWN || error == -ENODEV;
}

static bool is_there(const struct if_nameindex *devices, unsigned device)
{
    for (; devices->if_name; devices++)
        if (devices->if_index == device)
            return true;
    return false;
}

/* The kernel has let their queues go; the sockets cannot be bound again. */
static void forget_gone(struct xdp *xdp, const struct if_nameindex *devices)
{
    size_t n = 0;
    for (size_t i = 0; i < xdp->n_held; i++) {
        if (is_there(devices, xdp->held[i].device))
            xdp->held[n++] = xdp->held[i];
        else
            close(xdp->held[i].fd);
    }
    xdp->n_held = n;
}

bool xdp_hold(struct xdp *xdp)
{
    if (!xdp->n_spare && !xdp->n_held)
        return false;
    struct if_nameindex *devices = if_nameindex();
    if (!devices)
        return false;
    forget_gone(xdp, devices);
    bool whole = true;
    for (const struct if_nameindex *device = devices; device->if_name; device++)
        if (device->if_index != LOOPBACK_INDEX)
            whole &= hold_device(xdp, device->if_index);
    if_freenameindex(devices);
    return whole;
}
