#include "api/metrics_api.h"

#include "api/accept.h"
#include "api/server.h"

void metrics_api_get(struct api *api, struct request *request)
{
    struct buf body = {0};
    bool openmetrics = accept_prefers_openmetrics(request_header(request, MHD_HTTP_HEADER_ACCEPT));
    api->hooks.metrics(api->hooks.ctx, openmetrics, &body);
    request_answer(request, MHD_HTTP_OK,
                   openmetrics ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
                               : "text/plain; version=0.0.4; charset=utf-8",
                   &body);
}
