/* The whole of what is in force, as JSON: made once for one set of layers and shared by all who ask, so that clients
 * that take their time cost no memory. Belongs to the API's thread. */
#ifndef API_EFFECTIVE_H
#define API_EFFECTIVE_H

#include "policy/policy.h"

#include <microhttpd.h>

struct effective;

/* An answer with these layers, the caller's to release; `*cache` is used when it is about the same ones, else made
 * anew. NULL when memory is short. */
struct MHD_Response *effective_answer(struct effective **cache, const struct policy_layers *layers,
                                      const char *enforcement_mode);
/* Gives the cache up; NULL is fine. */
void effective_unref(struct effective *effective);

#endif
