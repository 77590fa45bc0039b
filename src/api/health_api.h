/* GET and HEAD of /healthz: 200 only while enforcement is really in place. */
#ifndef API_HEALTH_API_H
#define API_HEALTH_API_H

#include "api/request.h"

request_handler health_api_get;

#endif
