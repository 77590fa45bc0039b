#include "api/health_api.h"

#include "api/server.h"

void health_api_get(struct api *api, struct request *request)
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
