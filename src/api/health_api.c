#include "api/health_api.h"

#include "api/explain_api.h"
#include "api/server.h"

void health_api_answer(struct api *api, struct request *request)
{
    struct why why = {0};
    if (!api->hooks.healthy(api->hooks.ctx, &why)) {
        request_answer_line(request, MHD_HTTP_SERVICE_UNAVAILABLE, why.text);
        return;
    }
    /* No line break: probes compare the two letters. One that does so finds an observer unhealthy, and is right. */
    struct buf body = {0};
    buf_puts(&body, api->settings.audit ? "NOTHING IS ENFORCED: audit mode" : "ok");
    request_answer(request, MHD_HTTP_OK, "text/plain; charset=utf-8", &body);
}

/* Never an answer about a table that somebody has changed since it was looked at. */
void health_api_get(struct api *api, struct request *request)
{
    if (api->hooks.health_is_old && api->hooks.health_is_old(api->hooks.ctx))
        explain_api_look(api, request);
    else
        health_api_answer(api, request);
}

/* Answered by this thread, about the other one: whoever gets 200 has both. */
void livez_api_get(struct api *api, struct request *request)
{
    struct why why = {0};
    if (api->hooks.alive && !api->hooks.alive(api->hooks.ctx, &why)) {
        request_answer_line(request, MHD_HTTP_SERVICE_UNAVAILABLE, why.text);
        return;
    }
    struct buf body = {0};
    buf_puts(&body, "ok");
    request_answer(request, MHD_HTTP_OK, "text/plain; charset=utf-8", &body);
}
