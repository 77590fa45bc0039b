/* Events of GET /events, batch by batch, and what a person wants to know of one. */
#ifndef CTL_STREAM_H
#define CTL_STREAM_H

#include "ctl/command.h"

/* Zeroed at first. */
struct stream {
    bool begun;
    double started, last; /* which run's numbers, and that of the newest event that was seen */
    double lost;          /* how many came since the first batch and were gone before they were seen */
};

/* The next events, oldest first: at first those that are kept, later those that come within `wait_s` seconds, if any,
 * after a tenth of a second, so that a busy sandbox does not keep both sides busy with small answers.
 * `ret_events` belongs to `ret_answer`, which the caller deletes. 0, or an exit code with `why`. */
int stream_next(struct stream *stream, struct command *command, unsigned wait_s, cJSON **ret_answer,
                const cJSON **ret_events);

enum event_kind { EVENT_POLICY, EVENT_ALLOWED, EVENT_DENIED, EVENT_FAILED, EVENT_API };

/* EVENT_FAILED was allowed and got no answer. */
enum event_kind event_kind(const cJSON *event);
/* Appends the name, or address, port and protocol. */
void event_target(const cJSON *event, struct buf *ret);

#endif
