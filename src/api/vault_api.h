/* The credential vault of a sidecar that has no credential proxy. */
#ifndef API_VAULT_API_H
#define API_VAULT_API_H

#include "api/request.h"

request_handler vault_api_active;
request_handler vault_api_get;
request_handler vault_api_change;

#endif
