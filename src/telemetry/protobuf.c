#include "telemetry/protobuf.h"

#include "base/utf8.h"

#include <string.h>

#define TAG_MAX 5
#define REPLACEMENT "\xEF\xBF\xBD"

static size_t put_tag(uint8_t *out, unsigned field, enum protobuf_type type)
{
    return protobuf_put_varint(out, (uint64_t)field << 3 | type);
}

/* The wire is little-endian. */
static void put_fixed64(uint8_t *out, uint64_t value)
{
    for (int i = 0; i < 8; i++)
        out[i] = (uint8_t)(value >> (8 * i));
}

void protobuf_varint(struct buf *out, unsigned field, uint64_t value)
{
    uint8_t *at = buf_room(out, TAG_MAX + PROTOBUF_VARINT_MAX);
    if (!at)
        return;
    size_t n = put_tag(at, field, PROTOBUF_VARINT);
    out->len += n + protobuf_put_varint(at + n, value);
}

void protobuf_zigzag(struct buf *out, unsigned field, int64_t value)
{
    protobuf_varint(out, field, (uint64_t)value << 1 ^ (value < 0 ? UINT64_MAX : 0));
}

void protobuf_fixed64(struct buf *out, unsigned field, uint64_t value)
{
    uint8_t *at = buf_room(out, TAG_MAX + 8);
    if (!at)
        return;
    size_t n = put_tag(at, field, PROTOBUF_FIXED64);
    put_fixed64(at + n, value);
    out->len += n + 8;
}

static uint64_t bits_of(const void *value)
{
    uint64_t bits;
    memcpy(&bits, value, sizeof(bits));
    return bits;
}

void protobuf_double(struct buf *out, unsigned field, double value)
{
    protobuf_fixed64(out, field, bits_of(&value));
}

void protobuf_packed64(struct buf *out, unsigned field, const void *values, size_t n)
{
    uint8_t *at = n ? buf_room(out, TAG_MAX + PROTOBUF_VARINT_MAX + n * 8) : NULL;
    if (!at)
        return;
    size_t lead = put_tag(at, field, PROTOBUF_BYTES);
    lead += protobuf_put_varint(at + lead, n * 8);
    for (size_t i = 0; i < n; i++)
        put_fixed64(at + lead + i * 8, bits_of((const char *)values + i * 8));
    out->len += lead + n * 8;
}

void protobuf_bytes(struct buf *out, unsigned field, const void *data, size_t len)
{
    uint8_t *at = buf_room(out, TAG_MAX + PROTOBUF_VARINT_MAX + len);
    if (!at)
        return;
    size_t n = put_tag(at, field, PROTOBUF_BYTES);
    n += protobuf_put_varint(at + n, len);
    if (len)
        memcpy(at + n, data, len);
    out->len += n + len;
}

/* Bytes at the start of `text` that are valid UTF-8. */
static size_t valid_run(const char *text, size_t len)
{
    size_t i = 0;
    while (i < len) {
        uint8_t c = (uint8_t)text[i];
        size_t n = c < 0x80 ? 1 : utf8_sequence((const uint8_t *)text + i, len - i);
        if (!n)
            break;
        i += n;
    }
    return i;
}

void protobuf_string(struct buf *out, unsigned field, const char *text, size_t len)
{
    size_t run = valid_run(text, len);
    if (run == len) {
        protobuf_bytes(out, field, text, len);
        return;
    }
    size_t begun = protobuf_begin(out, field);
    for (;;) {
        buf_append(out, text, run);
        if (run == len)
            break;
        buf_append(out, REPLACEMENT, strlen(REPLACEMENT));
        text += run + 1;
        len -= run + 1;
        run = valid_run(text, len);
    }
    protobuf_end(out, begun);
}

size_t protobuf_begin(struct buf *out, unsigned field)
{
    uint8_t *at = buf_room(out, TAG_MAX + 1);
    if (!at)
        return 0;
    out->len += put_tag(at, field, PROTOBUF_BYTES) + 1;
    return out->len;
}

/* begin() left one byte for the length; a longer one moves the content. */
void protobuf_end(struct buf *out, size_t begun)
{
    uint8_t length[PROTOBUF_VARINT_MAX];
    if (out->failed)
        return;
    size_t len = out->len - begun, n = protobuf_put_varint(length, len);
    if (n > 1) {
        if (!buf_room(out, n - 1))
            return;
        memmove(out->data + begun + n - 1, out->data + begun, len);
        out->len += n - 1;
    }
    memcpy(out->data + begun - 1, length, n);
}
