/* GET /: the page for people. It is the same for everybody and holds nothing of the sandbox, so it needs no token; what
 * it shows it asks for like any other client. */
#ifndef API_PAGE_API_H
#define API_PAGE_API_H

#include "api/request.h"

void page_api_get(struct api *api, struct request *request);

#endif
