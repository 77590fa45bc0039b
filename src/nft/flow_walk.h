/* A walk through the open flows, in a thread of its own that lives as long as the walk: listing blocks, whatever is in
 * the list. Which of the flows are meant, the loop says in between, since only it knows the leases. */
#ifndef NFT_FLOW_WALK_H
#define NFT_FLOW_WALK_H

#include "base/buf.h"
#include "base/mailbox.h"
#include "base/why.h"

#include <stdbool.h>

/* Both run in the loop. */
struct flow_walk_hooks {
    void *ctx;
    /* Leaves those of the flows (struct flow, at most FLOWS_AT_ONCE) in the buffer that are to be ended. 0, or -errno
     * with `why`, which ends the walk. NULL: the walk is through DNS flows, which are all forgotten (flows_forget()).
     */
    int (*choose)(void *ctx, struct buf *flows, struct why *why);
    /* The walk is over, and gone. `error`: 0 or -errno with `why`. */
    void (*over)(void *ctx, int error, const struct why *why);
};

struct flow_walk;

/* Begins to list in `delay_ms`. 0 or -errno, and then `over` is not called. */
int flow_walk_start(struct mailbox *mailbox, const struct flow_walk_hooks *hooks, unsigned delay_ms,
                    struct flow_walk **ret, struct why *why);
/* Gives a walk up that is not over, once the loop runs no more; waits for what the kernel is being asked. NULL is none.
 */
void flow_walk_free(struct flow_walk *walk);

#endif
