/* GET and HEAD of /metrics: what the process counts, for Prometheus. */
#ifndef API_METRICS_API_H
#define API_METRICS_API_H

#include "api/request.h"

request_handler metrics_api_get;

#endif
