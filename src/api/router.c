#include "api/router.h"

#include "api/auth.h"
#include "api/events_api.h"
#include "api/explain_api.h"
#include "api/health_api.h"
#include "api/metrics_api.h"
#include "api/origin.h"
#include "api/page_api.h"
#include "api/policy_api.h"
#include "api/server.h"
#include "api/vault_api.h"

#include <string.h>

/* The first match counts. */
static const struct route routes[] = {
    {.path = "/",
     .ui = true,
     .allow = "GET, HEAD",
     .level = LOG_DEBUG,
     .methods = {{"GET", page_api_get, false}, {"HEAD", page_api_get, false}}},
    {.path = "/healthz",
     .probe = true,
     .allow = "GET, HEAD",
     .level = LOG_DEBUG,
     .methods = {{"GET", health_api_get, false}, {"HEAD", health_api_get, false}}},
    {.path = "/livez",
     .probe = true,
     .allow = "GET, HEAD",
     .level = LOG_DEBUG,
     .methods = {{"GET", livez_api_get, false}, {"HEAD", livez_api_get, false}}},
    {.path = "/metrics",
     .allow = "GET, HEAD",
     .level = LOG_DEBUG,
     .methods = {{"GET", metrics_api_get, false}, {"HEAD", metrics_api_get, false}}},
    {.path = "/policy",
     .guarded = true,
     .allow = "GET, POST, PUT, PATCH, DELETE",
     .level = LOG_INFO,
     .methods = {{"GET", policy_api_get, false},
                 {"POST", policy_api_put, true},
                 {"PUT", policy_api_put, true},
                 {"PATCH", policy_api_patch, true},
                 {"DELETE", policy_api_delete, true}}},
    {.path = "/policy/explain",
     .guarded = true,
     .allow = "GET",
     .level = LOG_INFO,
     .methods = {{"GET", explain_api_get, false}}},
    {.path = "/policy/effective",
     .guarded = true,
     .allow = "GET",
     .level = LOG_INFO,
     .methods = {{"GET", effective_api_get, false}}},
    {.path = "/policy/suggested",
     .guarded = true,
     .allow = "GET",
     .level = LOG_INFO,
     .methods = {{"GET", suggested_api_get, false}}},
    {.path = "/policy/leases",
     .guarded = true,
     .allow = "GET",
     .level = LOG_INFO,
     .methods = {{"GET", leases_api_get, false}}},
    {.path = "/events",
     .guarded = true,
     .ui = true,
     .allow = "GET",
     .level = LOG_DEBUG,
     .methods = {{"GET", events_api_get, false}}},
    {.path = "/credential-vault/_active",
     .guarded = true,
     .level = LOG_INFO,
     .methods = {{"*", vault_api_active, false}}},
    {.path = "/credential-vault",
     .below = true,
     .guarded = true,
     .allow = "GET, POST, PATCH, DELETE",
     .level = LOG_INFO,
     .methods = {{"GET", vault_api_get, false},
                 {"POST", vault_api_change, false},
                 {"PATCH", vault_api_change, false},
                 {"DELETE", vault_api_change, false}}},
};

static const struct route *find_route(const struct api *api, const char *path)
{
    for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
        size_t len = strlen(routes[i].path);
        if ((api->settings.recent || !routes[i].ui) && strncmp(path, routes[i].path, len) == 0 &&
            (path[len] == '\0' || (routes[i].below && path[len] == '/')))
            return &routes[i];
    }
    return NULL;
}

/* Whether the token is right. A request without one guesses nothing. */
static bool has_token(struct api *api, struct request *request, enum api_denial *ret)
{
    const char *given = request_header(request, AUTH_HEADER);
    struct guess_source *source =
        guesses_source(&api->guesses, connection_side(request->connection), connection_peer(request->connection));
    uint64_t now = loop_now(api->loop);
    *ret = API_DENIED_TOKEN;
    if (!given)
        return false;
    if (!guesses_left(source, now)) {
        *ret = API_DENIED_THROTTLED;
        return false;
    }
    if (auth_token_equal(api->settings.token, given))
        return true;
    guesses_wrong(source, now);
    return false;
}

/* At the address, when clients need a certificate. */
static bool is_known_client(const struct api *api, const struct request *request)
{
    return !api->settings.tls.client_ca || connection_side(request->connection) == CONNECTION_LOCAL ||
           tls_client_is_known(request->connection);
}

static bool may_ask(struct api *api, struct request *request, enum api_denial *ret)
{
    if (api->settings.token)
        return has_token(api, request, ret);
    const struct origin_headers headers = {.host = request_header(request, MHD_HTTP_HEADER_HOST),
                                           .origin = request_header(request, MHD_HTTP_HEADER_ORIGIN),
                                           .fetch_site = request_header(request, "Sec-Fetch-Site")};
    enum origin_verdict verdict = origin_look(&headers, api->settings.hosts);
    *ret = verdict == ORIGIN_FOREIGN ? API_DENIED_ORIGIN : API_DENIED_HOST;
    return verdict == ORIGIN_FINE;
}

void router_dispatch(struct api *api, struct request *request, const char *path)
{
    const struct route *route = request->route = find_route(api, path);
    if (!(route && route->probe) && !is_known_client(api, request)) {
        denied_answer(api, request, API_DENIED_CERTIFICATE);
        return;
    }
    if (!route) {
        request_answer_line(request, MHD_HTTP_NOT_FOUND, "not found");
        return;
    }
    enum api_denial why;
    if (route->guarded && !may_ask(api, request, &why)) {
        denied_answer(api, request, why);
        return;
    }
    for (const struct route_method *entry = route->methods; entry->method; entry++) {
        if (strcmp(entry->method, request->method) == 0 || strcmp(entry->method, "*") == 0) {
            request->handle = entry->handle;
            request->wants_body = entry->wants_body;
            return;
        }
    }
    request_answer_line(request, MHD_HTTP_METHOD_NOT_ALLOWED, "method not allowed");
    request_answer_header(request, MHD_HTTP_HEADER_ALLOW, route->allow);
}

/* A method is text from a stranger; records and metrics name the known ones only (OpenTelemetry, http.request.method).
 */
const char *router_method_label(const char *method)
{
    static const char *const known[] = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"};
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (strcmp(method, known[i]) == 0)
            return known[i];
    return "_OTHER";
}

const char *router_label(const struct request *request)
{
    return request->route ? request->route->path : "other";
}

void router_account(struct api *api, const struct request *request)
{
    const char *method = router_method_label(request->method);
    const char *template = router_label(request);
    double duration = (double)(clock_monotonic_ns() - request->started_ns) / (double)NS_PER_S;
    request_streams_record(&api->settings.metrics->api_requests, method, template, request->sent ? request->status : 0,
                           duration);
    bool guessed = request->sent && request->status == MHD_HTTP_UNAUTHORIZED;        /* a token, wherever */
    bool throttled = request->sent && request->status == MHD_HTTP_TOO_MANY_REQUESTS; /* as many as anybody likes */
    enum log_level level = throttled ? LOG_DEBUG : request->route && !guessed ? request->route->level : LOG_INFO;
    if (!log_begin(api->log, level, LOG_PLAIN, "api request"))
        return;
    log_str(api->log, "http.request.method", method, strlen(method));
    log_str(api->log, "http.route", template, strlen(template));
    if (request->sent)
        log_int(api->log, "http.response.status_code", request->status);
    log_double(api->log, "duration", duration);
    log_end(api->log);
}
