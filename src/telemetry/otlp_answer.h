/* What a collector's answer to an export means: OTLP 1.x, "OTLP/HTTP Response" and "OTLP/gRPC Response". No I/O. */
#ifndef TELEMETRY_OTLP_ANSWER_H
#define TELEMETRY_OTLP_ANSWER_H

#include "telemetry/http.h"
#include "telemetry/otel_env.h"

#include <stdbool.h>
#include <stdint.h>

enum otlp_verdict {
    OTLP_TAKEN,   /* perhaps without some of it */
    OTLP_RETRY,   /* the same request may be taken later */
    OTLP_REFUSED, /* and would be again */
};

struct otlp_answer {
    enum otlp_verdict verdict;
    bool reached;            /* somebody was there: it is not the connection that failed */
    uint64_t rejected;       /* of what was taken: left out for good */
    uint64_t retry_after_ms; /* OTLP_RETRY: not before; 0: nothing was said */
    char message[256];       /* for people, without control characters; "" when there is nothing to say */
};

/* The headers and trailers that otlp_answer_read() looks at, for `wanted` of the post. */
extern const char *const otlp_answer_headers[];

/* `post` is done. `now_s`: seconds since the epoch, for a Retry-After that is a date. */
void otlp_answer_read(enum otlp_protocol protocol, const struct http_post *post, int64_t now_s,
                      struct otlp_answer *ret);

#endif
