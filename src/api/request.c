#include "api/request.h"

#include "api/server.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int request_new(struct api *api, struct MHD_Connection *connection, const char *method, struct request **ret)
{
    struct request *request = calloc(1, sizeof(*request));
    if (!request)
        return -ENOMEM;
    request->api = api;
    request->connection = connection;
    request->method = method;
    request->started_ns = clock_monotonic_ns();
    *ret = request;
    return 0;
}

void request_free(struct request *request)
{
    if (!request)
        return;
    if (request->large_of)
        request->large_of->answer_bytes -= request->large_bytes;
    if (request->response && !request->shared)
        MHD_destroy_response(request->response);
    buf_done(&request->body);
    free(request);
}

const char *request_header(const struct request *request, const char *name)
{
    return MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND, name);
}

bool request_argument(const struct request *request, const char *name, const char **ret)
{
    const char *value = NULL;
    size_t len;
    if (MHD_lookup_connection_value_n(request->connection, MHD_GET_ARGUMENT_KIND, name, strlen(name), &value, &len) !=
        MHD_YES)
        return false;
    *ret = value && strlen(value) == len ? value : ""; /* nothing with a NUL in it is cut short */
    return true;
}

void request_answer(struct request *request, unsigned status, const char *content_type, struct buf *take_body)
{
    request->status = status;
    if (!take_body->failed)
        request->response = MHD_create_response_from_buffer(take_body->len, take_body->data, MHD_RESPMEM_MUST_FREE);
    if (!request->response) {
        buf_done(take_body);
        return;
    }
    *take_body = (struct buf){0};
    if (content_type)
        request_answer_header(request, MHD_HTTP_HEADER_CONTENT_TYPE, content_type);
}

void request_answer_line(struct request *request, unsigned status, const char *line)
{
    struct buf body = {0};
    buf_puts(&body, line);
    buf_putc(&body, '\n');
    request_answer(request, status, "text/plain; charset=utf-8", &body);
}

void request_answer_busy(struct request *request, const char *line)
{
    request_answer_line(request, MHD_HTTP_SERVICE_UNAVAILABLE, line);
    request_answer_header(request, MHD_HTTP_HEADER_RETRY_AFTER, "1");
}

void request_answer_large(struct request *request, struct buf *take_body)
{
    struct connection_share *share = &request->api->shares[connection_side(request->connection)];
    if (share->answer_bytes + take_body->cap > ANSWERS_MAX) {
        buf_done(take_body);
        request_answer_busy(request, "too many answers that nobody takes");
        return;
    }
    request->large_of = share;
    request->large_bytes = take_body->cap;
    share->answer_bytes += take_body->cap;
    request_answer(request, MHD_HTTP_OK, "application/json", take_body);
}

void request_answer_shared(struct request *request, unsigned status, struct MHD_Response *response)
{
    request->status = status;
    request->response = response;
    request->shared = true;
}

void request_answer_response(struct request *request, unsigned status, const char *content_type,
                             struct MHD_Response *response)
{
    request->status = status;
    request->response = response;
    request_answer_header(request, MHD_HTTP_HEADER_CONTENT_TYPE, content_type);
}

void request_answer_header(struct request *request, const char *name, const char *value)
{
    if (request->response)
        MHD_add_response_header(request->response, name, value);
}
