/* HTTP requests by method, route and status: a table that one thread fills and others read. It never shrinks, and a
 * client cannot make it grow without limit: methods and routes are few, and when it is full the rest is counted
 * together. It is larger than all that clients can make of them, so that nobody can keep others out of it. */
#ifndef BASE_REQUEST_STREAMS_H
#define BASE_REQUEST_STREAMS_H

#include "base/histogram.h"

#define REQUEST_STREAMS 448

/* Constant once it is in the table, but for the histogram. */
struct request_stream {
    const char *method, *route; /* static text; both NULL: what found the table full */
    unsigned status;            /* 0: no answer was sent */
    struct histogram duration;
};

struct request_streams {
    bool exponential; /* see histogram.h */
    _Atomic uint32_t n;
    struct request_stream list[REQUEST_STREAMS]; /* the last one is for what finds the others taken */
};

/* The writer's. Equal texts must be the same pointers. */
void request_streams_record(struct request_streams *streams, const char *method, const char *route, unsigned status,
                            double seconds);
/* Any thread: how many of `list` there are. */
uint32_t request_streams_count(const struct request_streams *streams);

#endif
