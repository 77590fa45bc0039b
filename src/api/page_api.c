#include "api/page_api.h"

#include "api/accept.h"
#include "api/page.h"
#include "base/cleanup.h"

#include <string.h>
#include <zlib.h>

#define GZIP_WINDOW (MAX_WBITS + 16) /* zlib's way to say gzip */

/* The few who do not take gzip (curl without --compressed) get it unpacked. */
static struct MHD_Response *unpacked(void)
{
    _cleanup_free_ unsigned char *text = malloc(page_len);
    z_stream stream = {.next_in = (unsigned char *)page_gzip,
                       .avail_in = (unsigned)page_gzip_len,
                       .next_out = text,
                       .avail_out = (unsigned)page_len};
    if (!text || inflateInit2(&stream, GZIP_WINDOW) != Z_OK)
        return NULL;
    int result = inflate(&stream, Z_FINISH);
    inflateEnd(&stream);
    if (result != Z_STREAM_END)
        return NULL;
    return MHD_create_response_from_buffer(page_len, take_pointer(text), MHD_RESPMEM_MUST_FREE);
}

void page_api_get(struct api *api, struct request *request)
{
    static const char *const headers[][2] = {
        {MHD_HTTP_HEADER_CONTENT_SECURITY_POLICY, page_policy},
        {"X-Content-Type-Options", "nosniff"},
        {"Referrer-Policy", "no-referrer"},
        {MHD_HTTP_HEADER_CACHE_CONTROL, "no-cache"},
        {MHD_HTTP_HEADER_VARY, MHD_HTTP_HEADER_ACCEPT_ENCODING},
    };
    bool packed = accept_takes_gzip(request_header(request, MHD_HTTP_HEADER_ACCEPT_ENCODING));
    struct MHD_Response *response =
        packed ? MHD_create_response_from_buffer(page_gzip_len, (void *)page_gzip, MHD_RESPMEM_PERSISTENT) : unpacked();
    if (!response) {
        request_answer_line(request, MHD_HTTP_INTERNAL_SERVER_ERROR, "out of memory");
        return;
    }
    request_answer_response(request, MHD_HTTP_OK, "text/html; charset=utf-8", response);
    if (packed)
        request_answer_header(request, MHD_HTTP_HEADER_CONTENT_ENCODING, "gzip");
    for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++)
        request_answer_header(request, headers[i][0], headers[i][1]);
}
