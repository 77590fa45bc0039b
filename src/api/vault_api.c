#include "api/vault_api.h"

void vault_api_active(struct api *api, struct request *request)
{
    request_answer_line(request, MHD_HTTP_FORBIDDEN, "forbidden");
}

void vault_api_get(struct api *api, struct request *request)
{
    request_answer_line(request, MHD_HTTP_NOT_FOUND, "not found");
}

void vault_api_change(struct api *api, struct request *request)
{
    request_answer_line(request, MHD_HTTP_PRECONDITION_FAILED, "credential proxy is not enabled");
}
