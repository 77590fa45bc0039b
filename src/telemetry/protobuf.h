/* Writing protocol buffers (protobuf.dev/programming-guides/encoding) straight into a buffer: no message is built first
 * and nothing is allocated for a field. Lengths are written in their shortest form. */
#ifndef TELEMETRY_PROTOBUF_H
#define TELEMETRY_PROTOBUF_H

#include "base/buf.h"

#include <stddef.h>
#include <stdint.h>

#define PROTOBUF_VARINT_MAX 10

enum protobuf_type { PROTOBUF_VARINT = 0, PROTOBUF_FIXED64 = 1, PROTOBUF_BYTES = 2 };

/* Writes `value` at `out`, which has room for PROTOBUF_VARINT_MAX bytes; returns its length. */
static inline size_t protobuf_put_varint(uint8_t *out, uint64_t value)
{
    size_t n = 0;
    for (; value >= 0x80; value >>= 7)
        out[n++] = (uint8_t)(value | 0x80);
    out[n++] = (uint8_t)value;
    return n;
}

/* A field with its tag, each. */
void protobuf_varint(struct buf *out, unsigned field, uint64_t value);
/* sint32, sint64. */
void protobuf_zigzag(struct buf *out, unsigned field, int64_t value);
/* fixed64, sfixed64. */
void protobuf_fixed64(struct buf *out, unsigned field, uint64_t value);
void protobuf_double(struct buf *out, unsigned field, double value);
/* Repeated fixed64 and double in packed form; `values` are 8 bytes each. */
void protobuf_packed64(struct buf *out, unsigned field, const void *values, size_t n);
/* Bytes or an encoded message, as they are. */
void protobuf_bytes(struct buf *out, unsigned field, const void *data, size_t len);
/* A string: bytes that are no valid UTF-8 become U+FFFD each. */
void protobuf_string(struct buf *out, unsigned field, const char *text, size_t len);

/* A nested message is what is written between these two; `begin` returns what `end` needs. */
size_t protobuf_begin(struct buf *out, unsigned field);
void protobuf_end(struct buf *out, size_t begun);

#endif
