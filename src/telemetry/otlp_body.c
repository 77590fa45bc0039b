#include "telemetry/otlp_body.h"

#include "telemetry/otlp_json.h"

#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <zlib.h>

#define GRPC_FRAME 5 /* compressed?, length of the message in four bytes */

/* The fastest level: what is repeated in every record goes all the same. */
static int append_compressed(const void *data, size_t len, struct buf *out)
{
    z_stream stream = {0};
    if (deflateInit2(&stream, Z_BEST_SPEED, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        return -ENOMEM;
    size_t bound = deflateBound(&stream, len);
    uint8_t *room = len <= UINT_MAX && bound <= UINT_MAX ? buf_room(out, bound) : NULL;
    stream.next_in = (z_const Bytef *)data;
    stream.avail_in = (uInt)len;
    stream.next_out = room;
    stream.avail_out = (uInt)bound;
    int end = room ? deflate(&stream, Z_FINISH) : Z_MEM_ERROR;
    out->len += stream.total_out;
    deflateEnd(&stream);
    return end == Z_STREAM_END ? 0 : -ENOMEM;
}

static int append_plain(const void *data, size_t len, struct buf *out)
{
    buf_append(out, data, len);
    return out->failed ? -ENOMEM : 0;
}

int otlp_body(enum otlp_protocol protocol, bool gzip, const ProtobufCMessageDescriptor *type, const void *request,
              size_t len, struct buf *ret)
{
    int (*append)(const void *data, size_t len, struct buf *out) = gzip ? append_compressed : append_plain;
    buf_clear(ret);
    if (len > OTLP_REQUEST_MAX)
        return -EMSGSIZE;
    if (protocol == OTLP_HTTP_JSON) {
        _cleanup_buf_ struct buf json = {0};
        struct buf *plain = gzip ? &json : ret;
        int error = otlp_json(type, request, len, plain);
        if (!error && plain->len > OTLP_REQUEST_MAX)
            error = -EMSGSIZE;
        return error || !gzip ? error : append(json.data, json.len, ret);
    }
    if (protocol == OTLP_HTTP_PROTOBUF)
        return append(request, len, ret);
    buf_append(ret, (const uint8_t[GRPC_FRAME]){gzip}, GRPC_FRAME);
    int error = append(request, len, ret);
    if (error)
        return error;
    uint32_t message = (uint32_t)(ret->len - GRPC_FRAME);
    for (size_t i = 0; i < 4; i++)
        ret->data[1 + i] = (char)(message >> (24 - 8 * i));
    return 0;
}
