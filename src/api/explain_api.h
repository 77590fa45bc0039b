/* GET of /policy/explain and /policy/effective: what is in force, the always files and learned addresses included. The
 * loop is asked for it; the requests wait suspended. */
#ifndef API_EXPLAIN_API_H
#define API_EXPLAIN_API_H

#include "api/request.h"

/* ?target=NAME-or-IP: which rule of which layer decides, and what is known of the address. */
request_handler explain_api_get;
request_handler effective_api_get;

#endif
