#include "guard.h"

#include "base/cleanup.h"

#include <cap-ng.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define INITIAL_PID_NAMESPACE "pid:[4026531836]" /* PROC_PID_INIT_INO, fixed since Linux 3.8 */

static bool in_initial_pid_namespace(void)
{
    char link[64];
    ssize_t n = readlink("/proc/self/ns/pid", link, sizeof(link) - 1);
    if (n < 0)
        return true;
    link[n] = '\0';
    return !strcmp(link, INITIAL_PID_NAMESPACE);
}

enum guard_verdict guard_network_namespace(bool host_network_allowed, struct why *why)
{
    if (host_network_allowed || access("/proc/sys/net/core/dev_weight", F_OK))
        return GUARD_OK;
    bool machine = in_initial_pid_namespace();
    why_set(why, 0, "this is %s; set OPENSANDBOX_EGRESS_ALLOW_HOST_NETWORK=true if that is meant",
            machine ? "the machine's own network namespace, not a sandbox's" : "an initial network namespace");
    return machine ? GUARD_REFUSE : GUARD_WARN;
}

bool guard_has_net_admin(void)
{
    capng_get_caps_process();
    return capng_have_capability(CAPNG_EFFECTIVE, CAP_NET_ADMIN);
}

bool guard_kernel_has_xdp(void)
{
    _cleanup_close_ int fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
    return fd >= 0 || errno != EAFNOSUPPORT;
}
