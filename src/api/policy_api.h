/* GET, POST, PUT, PATCH and DELETE of /policy. */
#ifndef API_POLICY_API_H
#define API_POLICY_API_H

#include "api/request.h"

request_handler policy_api_get;
request_handler policy_api_put;
request_handler policy_api_patch;
request_handler policy_api_delete;

#define POLICY_RESET "policy reset to default deny-all"

/* 200 with the mode of the policy in force; `reason` may be NULL. */
void policy_api_answer(struct api *api, struct request *request, const char *reason, bool with_enforcement);

#endif
