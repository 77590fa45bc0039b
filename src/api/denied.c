#include "api/denied.h"

#include "api/router.h"
#include "api/server.h"

#include <string.h>

struct refusal {
    const char *reason; /* in the event */
    unsigned status;
    const char *line;
};

static const struct refusal refusals[API_DENIALS] = {
    [API_DENIED_TOKEN] = {"token", MHD_HTTP_UNAUTHORIZED, "unauthorized"},
    [API_DENIED_THROTTLED] = {"throttled", MHD_HTTP_TOO_MANY_REQUESTS,
                              "too many wrong tokens from where you are; none is looked at for a second"},
    [API_DENIED_ORIGIN] = {"origin", MHD_HTTP_FORBIDDEN, "refused: the page of another origin asks (no token is set)"},
    [API_DENIED_HOST] = {"host", MHD_HTTP_FORBIDDEN,
                         "refused: Host is no address and no name of this sidecar (no token is set); "
                         "OPENSANDBOX_EGRESS_API_HOSTS has such names"},
    [API_DENIED_CERTIFICATE] = {"certificate", MHD_HTTP_FORBIDDEN,
                                "refused: a known client's certificate is wanted (OPENSANDBOX_EGRESS_TLS_CLIENT_CA)"},
};

/* Whether one more may be told; else it is counted. */
static bool may_tell(struct denied_events *events, enum api_denial why, uint64_t now_ns)
{
    if (now_ns >= events->of[why].until_ns) {
        events->of[why].until_ns = now_ns + NS_PER_S;
        events->of[why].n = 0;
    }
    bool may = events->of[why].n < DENIED_EVENTS_PER_SECOND;
    events->of[why].n += may;
    events->of[why].left_out += !may;
    return may;
}

static void tell(struct api *api, const struct request *request, enum api_denial why)
{
    struct denied_events *events = &api->denied_events;
    const struct refusal *refusal = &refusals[why];
    struct log *log = api->log;
    char peer[IP_TEXT_MAX];
    const char *method = router_method_label(request->method), *route = router_label(request);
    if (!may_tell(events, why, loop_now(api->loop)) || !log_begin(log, LOG_WARN, LOG_API_DENIED, "egress api denied"))
        return;
    connection_peer_format(request->connection, peer);
    log_str(log, "reason", refusal->reason, strlen(refusal->reason));
    log_str(log, "peer", peer, strlen(peer));
    log_str(log, "http.request.method", method, strlen(method));
    log_str(log, "http.route", route, strlen(route));
    if (events->of[why].left_out)
        log_int(log, "suppressed", (int64_t)events->of[why].left_out);
    events->of[why].left_out = 0;
    log_end(log);
}

void denied_answer(struct api *api, struct request *request, enum api_denial why)
{
    const struct refusal *refusal = &refusals[why];
    metric_add(api->settings.metrics, metric_api_denied(why), 1);
    tell(api, request, why);
    request_answer_line(request, refusal->status, refusal->line);
    if (refusal->status == MHD_HTTP_TOO_MANY_REQUESTS)
        request_answer_header(request, MHD_HTTP_HEADER_RETRY_AFTER, "1");
}
