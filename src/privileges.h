/* What the process may do by its credentials: CAP_NET_ADMIN and nothing else, for good. */
#ifndef PRIVILEGES_H
#define PRIVILEGES_H

#include "base/why.h"

#include <stdbool.h>

/* Gives up every capability but CAP_NET_ADMIN (and that one too when it is not there), in all five sets, and the hope
 * of getting any back from a program (no_new_privs). The bounding set stays as it is without CAP_SETPCAP. To be called
 * before any thread is started: capabilities belong to threads. 0 or -errno with `why`. */
int privileges_drop(struct why *why);
/* Whether no other capability is left in the bounding set either. If not, nothing is lost: that set is about programs,
 * and with no_new_privs none gives capabilities. */
bool privileges_are_bounded(void);

#endif
