/* One HTTP request, from its headers to its answer. Belongs to the API's thread; lives from the first call of
 * libmicrohttpd's handler to its completion notice. While it is suspended libmicrohttpd leaves it alone, even when the
 * client goes away. */
#ifndef API_REQUEST_H
#define API_REQUEST_H

#include "base/buf.h"
#include "base/loop.h"

#include <microhttpd.h>
#include <stdbool.h>
#include <stdint.h>

#define BODY_MAX (1u << 20)
#define ANSWERS_MAX (4u << 20)

struct api;
struct route;
struct request;
struct change;
struct connection_share;

/* Called when the body is there (or is not wanted). Answers the request, or keeps it and answers later: then it is
 * suspended until server_resume(). */
typedef void request_handler(struct api *api, struct request *request);
/* Makes the next policy out of the body and the policy in force; false: the request is answered instead. */
typedef bool change_maker(struct api *api, struct request *request, struct change *ret);

enum body_fault {
    BODY_FINE,
    BODY_TOO_LARGE, /* over BODY_MAX */
    BODY_NO_ROOM,   /* too many bodies in memory at once */
};

struct request {
    struct api *api;
    struct MHD_Connection *connection;
    const struct route *route; /* NULL: unknown path */
    const char *method;
    request_handler *handle; /* NULL: refused already, or done */
    uint64_t started_ns;
    bool wants_body; /* else the body is read and dropped */
    enum body_fault body_fault;
    size_t received; /* bytes of body that came, kept or not */
    struct buf body;
    unsigned status; /* of the answer; 0: none yet */
    struct MHD_Response *response;
    bool shared;                       /* `response` belongs to somebody else */
    struct connection_share *large_of; /* NULL: `response` is not counted there */
    size_t large_bytes;
    bool sent;
    bool suspended;
    /* Policy changes (change.h). */
    change_maker *make;
    bool dry_run;
    struct request *next_waiting;
    /* GET /events (events_api.h). */
    uint64_t after, wait_until_ns;
};

int request_new(struct api *api, struct MHD_Connection *connection, const char *method, struct request **ret);
void request_free(struct request *request);

/* The value of a request header, or NULL. */
const char *request_header(const struct request *request, const char *name);

/* Whether the query of the address has this argument, in any case; a missing value is "". */
bool request_argument(const struct request *request, const char *name, const char **ret);

/* The answer; exactly one of these per request. It is sent when the handler returns or the request is resumed. When
 * memory runs out the connection is closed without one. */
void request_answer(struct request *request, unsigned status, const char *content_type, struct buf *take_body);
/* 200 with JSON of any length, or 503 when clients of the same share (connection.h) hold ANSWERS_MAX of such answers
 * and do not take them. */
void request_answer_large(struct request *request, struct buf *take_body);
/* 503, with a Retry-After. */
void request_answer_busy(struct request *request, const char *line);
/* One line of text; the line break is added here. */
void request_answer_line(struct request *request, unsigned status, const char *line);
/* An answer that others get as well, and that its owner keeps until the handler has returned. */
void request_answer_shared(struct request *request, unsigned status, struct MHD_Response *response);
/* An answer that was made elsewhere, and is taken over. */
void request_answer_response(struct request *request, unsigned status, const char *content_type,
                             struct MHD_Response *response);
/* Adds a header to the answer. */
void request_answer_header(struct request *request, const char *name, const char *value);

#endif
