/* The policy in force as the API shows it: its canonical JSON and its entity tag, made when first asked for. */
#ifndef API_CURRENT_H
#define API_CURRENT_H

#include "api/etag.h"
#include "base/buf.h"
#include "policy/policy.h"

struct current {
    struct policy *policy; /* one reference */
    struct buf json;       /* empty: not made yet */
    char etag[ETAG_SIZE];
};

/* Takes a reference of its own; what `current` (zeroed at first) held before is released. */
void current_set(struct current *current, struct policy *policy);
void current_done(struct current *current);
/* Fills `json` and `etag`. 0 or -ENOMEM. */
int current_render(struct current *current);

#endif
