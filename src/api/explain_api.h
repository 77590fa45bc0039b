/* GET of /policy/explain, /policy/effective, /policy/suggested and /policy/leases: what is in force, the always files
 * and learned addresses included, and what would have been enough. The loop is asked for it; the requests wait
 * suspended. */
#ifndef API_EXPLAIN_API_H
#define API_EXPLAIN_API_H

#include "api/request.h"

/* ?target=NAME-or-IP: which rule of which layer decides, and what is known of the address. */
request_handler explain_api_get;
request_handler effective_api_get;
/* The smallest policy that would have allowed what was seen since the start (policy/seen.h), as it can be posted. */
request_handler suggested_api_get;
/* The addresses that names led to, learned and revoked ones. */
request_handler leases_api_get;
/* Refuses those who wait for their turn at the loop. */
void explain_api_cancel_waiting(struct api *api);
/* Has the loop look at the table, then answers what /healthz says. */
void explain_api_look(struct api *api, struct request *request);

#endif
