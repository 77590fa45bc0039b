/* May this process enforce here? Asked before anything is changed. */
#ifndef GUARD_H
#define GUARD_H

#include "base/why.h"

#include <stdbool.h>

enum guard_verdict {
    GUARD_OK,
    GUARD_WARN,   /* the initial network namespace, but of a guest that runs one pod (Kata) */
    GUARD_REFUSE, /* the machine's own network namespace: rules would cut the machine off */
};

/* Only the initial network namespace has /proc/sys/net/core/dev_weight. `why` is set unless GUARD_OK. */
enum guard_verdict guard_network_namespace(bool host_network_allowed, struct why *why);
/* CAP_NET_ADMIN in the effective set. */
bool guard_has_net_admin(void);
/* The kernel has AF_XDP sockets, whose frames no netfilter hook sees: CAP_NET_RAW is enough to send with them. */
bool guard_kernel_has_xdp(void);

#endif
