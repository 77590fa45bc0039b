#include "privileges.h"

#include <cap-ng.h>
#include <errno.h>
#include <string.h>
#include <sys/prctl.h>

int privileges_drop(struct why *why)
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1L, 0L, 0L, 0L))
        return why_set(why, -errno, "no_new_privs cannot be set: %s", strerrordesc_np(errno));
    if (capng_get_caps_process())
        return why_set(why, -EIO, "the process's capabilities cannot be read");
    bool net_admin = capng_have_capability(CAPNG_PERMITTED, CAP_NET_ADMIN);
    bool may_bound = capng_have_capability(CAPNG_EFFECTIVE, CAP_SETPCAP);
    capng_clear(CAPNG_SELECT_ALL);
    if (net_admin && capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED | CAPNG_BOUNDING_SET, CAP_NET_ADMIN))
        return why_set(why, -EIO, "the process's capabilities cannot be changed");
    /* The bounding set first: it takes CAP_SETPCAP, which goes with the others. */
    if (may_bound && capng_apply(CAPNG_SELECT_BOUNDS))
        return why_set(why, -EPERM, "the capability bounding set cannot be emptied");
    if (capng_apply(CAPNG_SELECT_CAPS | CAPNG_SELECT_AMBIENT))
        return why_set(why, -EPERM, "capabilities cannot be given up");
    return 0;
}

bool privileges_are_bounded(void)
{
    int in_set = 0;
    for (unsigned long capability = 0; in_set >= 0; capability++) { /* the kernel's last one is followed by EINVAL */
        in_set = prctl(PR_CAPBSET_READ, capability, 0L, 0L, 0L);
        if (in_set > 0 && capability != CAP_NET_ADMIN)
            return false;
    }
    return true;
}
