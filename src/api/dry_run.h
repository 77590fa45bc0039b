/* Changes of the policy that are only tried: `?dryRun=true`. They take the way of real ones, in turn and through every
 * check, as far as the loop, which says what enforcing would take away; nothing is changed. */
#ifndef API_DRY_RUN_H
#define API_DRY_RUN_H

#include "api/change.h"

/* Fills `request->dry_run`; false: the request is answered, because what it wants is not clear. */
bool dry_run_wanted(struct request *request);
/* When the loop has answered. */
void dry_run_answer(struct change *change);

#endif
