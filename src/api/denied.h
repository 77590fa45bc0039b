/* Requests that are refused for who asks or whence: answered, counted, and told as events `egress.api.denied`, of which
 * there are at most DENIED_EVENTS_PER_SECOND for each reason; the next one says how many of it were left out. */
#ifndef API_DENIED_H
#define API_DENIED_H

#include "api/request.h"
#include "base/metrics.h"

#define DENIED_EVENTS_PER_SECOND 5

/* The API's thread's; zeroed at first. */
struct denied_events {
    struct {
        uint64_t until_ns; /* the end of the second in which `n` were told */
        unsigned n;
        uint64_t left_out; /* since the one told last */
    } of[API_DENIALS];
};

/* Answers the request: 401 or 403, or 429 with Retry-After. */
void denied_answer(struct api *api, struct request *request, enum api_denial why);

#endif
