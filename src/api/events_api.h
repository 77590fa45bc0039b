/* GET /events: what happened lately, or, when that is known already, what happens next. A request that waits is
 * suspended; one of many in a share of connections (connection.h) makes room by an answer before its time. */
#ifndef API_EVENTS_API_H
#define API_EVENTS_API_H

#include "api/connection.h"
#include "api/request.h"
#include "base/mailbox.h"

#define EVENTS_WAIT_MAX_S 25
#define EVENTS_WAITING_MAX 16 /* of a share, and half of its connections at most */
#define EVENTS_GATHER_MS 100  /* from an event to the answers: what comes in between is in them, too */

struct waiting_list {
    struct request *first, *last; /* in the order in which they came */
    unsigned n;
};

struct event_waiters {
    struct waiting_list shares[CONNECTION_SIDES];
    struct mail news; /* the export thread's letter */
    bool called;      /* that it will write */
    struct loop_timer due;
};

void events_api_get(struct api *api, struct request *request);
void events_api_init(struct api *api);
/* Answers all who wait. */
void events_api_stop(struct api *api);

#endif
