/* The policy in force as GET shows it: answer and entity tag, made when first asked for and shared by all who ask, so
 * that clients that take their time cost no memory. */
#ifndef API_CURRENT_H
#define API_CURRENT_H

#include "api/etag.h"
#include "policy/policy.h"

#include <microhttpd.h>

struct current {
    const char *enforcement_mode;
    struct policy *policy;       /* one reference */
    struct MHD_Response *answer; /* NULL: not made yet */
    char etag[ETAG_SIZE];        /* of the canonical JSON; valid with `answer` */
};

/* Takes a reference of its own; the policy that `current` held before, if any, is released. */
void current_set(struct current *current, struct policy *policy);
void current_done(struct current *current);
/* Makes `answer` and `etag`. 0 or -ENOMEM. */
int current_render(struct current *current);

#endif
