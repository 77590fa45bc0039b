/* The network devices of this namespace. */
#ifndef NFT_DEVICES_H
#define NFT_DEVICES_H

#include "base/cleanup.h"

#include <net/if.h>
#include <stdbool.h>

/* The same devices under the same names, in the same order: two lists of if_nameindex(), or NULL for none. */
bool devices_same(const struct if_nameindex *a, const struct if_nameindex *b);
/* A descriptor that becomes readable when devices or routes come and go, or -errno. */
int devices_open(void);
/* Reads what is there to read; does not block. */
void devices_drain(int fd);

/* Whether any route leads to another device than loopback; IPv6 routes on the link, which every device has, are none. 0
 * or -errno. The kernel answers from memory: some microseconds. */
int devices_lead_out(bool *ret);

static inline void devices_free(struct if_nameindex *devices)
{
    if (devices)
        if_freenameindex(devices);
}

DEFINE_CLEANUP(struct if_nameindex, devices_cleanup, devices_free);
#define _cleanup_devices_ _cleanup_(devices_cleanup)

#endif
