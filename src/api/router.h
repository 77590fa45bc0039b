/* Which path and method is answered by whom. */
#ifndef API_ROUTER_H
#define API_ROUTER_H

#include "api/request.h"
#include "base/log.h"

struct route_method {
    const char *method; /* "*": every one */
    request_handler *handle;
    bool wants_body;
};

struct route {
    const char *path;
    bool below;                     /* also matches everything below `path` */
    bool guarded;                   /* needs the token */
    bool probe;                     /* asked by who has no certificate: the kubelet */
    bool ui;                        /* not there without OPENSANDBOX_EGRESS_UI */
    const char *allow;              /* for 405 */
    enum log_level level;           /* of its access records */
    struct route_method methods[6]; /* the rest has no method */
};

/* Finds the handler for `path` (no query), or answers 404, 401 or 405. */
void router_dispatch(struct api *api, struct request *request, const char *path);
/* The access record and the count; called once per request, whether its answer is sent or not. */
void router_account(struct api *api, const struct request *request);

/* Method and route as records and metrics have them: strangers may send any text. */
const char *router_method_label(const char *method);
const char *router_label(const struct request *request);

#endif
