/* GET and HEAD of /healthz: 200 only while enforcement is really in place. Of /livez: 200 while the process works. */
#ifndef API_HEALTH_API_H
#define API_HEALTH_API_H

#include "api/request.h"

request_handler health_api_get;
request_handler livez_api_get;
/* Answers with what is known. */
void health_api_answer(struct api *api, struct request *request);

#endif
