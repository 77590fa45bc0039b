#include "telemetry/otlp_frame.h"

#include "telemetry/protobuf.h"

#include <errno.h>
#include <string.h>

static size_t varint_size(uint64_t value)
{
    uint8_t out[PROTOBUF_VARINT_MAX];
    return protobuf_put_varint(out, value);
}

/* KeyValue: key 1, value 2; AnyValue: string_value 1, int_value 3. */
void otlp_text_attribute(struct buf *out, unsigned field, const char *key, const char *text, size_t len)
{
    size_t pair = protobuf_begin(out, field);
    protobuf_string(out, 1, key, strlen(key)); /* perhaps of the environment */
    size_t value = protobuf_begin(out, 2);
    protobuf_string(out, 1, text, len);
    protobuf_end(out, value);
    protobuf_end(out, pair);
}

void otlp_int_attribute(struct buf *out, unsigned field, const char *key, int64_t integer)
{
    size_t pair = protobuf_begin(out, field);
    protobuf_bytes(out, 1, key, strlen(key));
    size_t value = protobuf_begin(out, 2);
    protobuf_varint(out, 3, (uint64_t)integer);
    protobuf_end(out, value);
    protobuf_end(out, pair);
}

int otlp_frame_init(struct otlp_frame *frame, const struct metric_attribute *resource, size_t n_resource,
                    const char *scope_name, const char *scope_version)
{
    *frame = (struct otlp_frame){0};
    size_t begun = protobuf_begin(&frame->resource, 1);
    for (size_t i = 0; i < n_resource; i++) {
        const struct metric_attribute *a = &resource[i];
        if (a->text)
            otlp_text_attribute(&frame->resource, 1, a->key, a->text, strlen(a->text));
        else
            otlp_int_attribute(&frame->resource, 1, a->key, a->integer);
    }
    protobuf_end(&frame->resource, begun);
    begun = protobuf_begin(&frame->scope, 1);
    protobuf_string(&frame->scope, 1, scope_name, strlen(scope_name));
    protobuf_string(&frame->scope, 2, scope_version, strlen(scope_version));
    protobuf_end(&frame->scope, begun);
    if (!frame->resource.failed && !frame->scope.failed)
        return 0;
    otlp_frame_done(frame);
    return -ENOMEM;
}

void otlp_frame_done(struct otlp_frame *frame)
{
    buf_done(&frame->resource);
    buf_done(&frame->scope);
}

/* The lengths are known, so nothing large is moved. */
void otlp_frame_wrap(const struct otlp_frame *frame, const void *elements, size_t len, struct buf *out)
{
    size_t scope_len = frame->scope.len + len;
    size_t resource_len = frame->resource.len + 1 + varint_size(scope_len) + scope_len;
    uint8_t lead[1 + PROTOBUF_VARINT_MAX] = {1 << 3 | PROTOBUF_BYTES};
    buf_append(out, lead, 1 + protobuf_put_varint(lead + 1, resource_len));
    buf_append(out, frame->resource.data, frame->resource.len);
    lead[0] = 2 << 3 | PROTOBUF_BYTES;
    buf_append(out, lead, 1 + protobuf_put_varint(lead + 1, scope_len));
    buf_append(out, frame->scope.data, frame->scope.len);
    buf_append(out, elements, len);
}
