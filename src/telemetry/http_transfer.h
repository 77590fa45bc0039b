/* One HTTP POST on its way: the libcurl handle, and what has come back so far. Only http.c includes this. */
#ifndef TELEMETRY_HTTP_TRANSFER_H
#define TELEMETRY_HTTP_TRANSFER_H

#include "base/curl.h"
#include "base/own_socket.h"
#include "base/url.h"
#include "telemetry/http.h"

#include <sys/queue.h>

struct http_transfer {
    TAILQ_ENTRY(http_transfer) link;
    struct http *http;
    const struct curl *curl;
    struct http_post *post;
    struct url url;
    uint64_t end_ns;
    bool moved; /* by http_step(), once at least */
    const struct own_mark *own;
    CURL *easy; /* once the address is known */
    struct curl_slist *headers, *addresses;
    size_t header_bytes;
    bool too_large;
    char reason[CURL_ERROR_SIZE];
};

/* Makes the handle. `addresses`: those of the host, NULL when it is literal. `fresh`: no connection is used again,
 * before or after. 0 or -ENOMEM. */
int http_transfer_prepare(struct http_transfer *transfer, const struct lookup *addresses, unsigned timeout_ms,
                          bool fresh);
/* Writes libcurl's verdict into the post's result. */
void http_transfer_judge(struct http_transfer *transfer, CURLcode code);
/* Gives up the handle. */
void http_transfer_drop(struct http_transfer *transfer);
void http_transfer_free(struct http_transfer *transfer);

#endif
