#include "telemetry/otlp_json.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

static void put_message(struct buf *out, const ProtobufCMessage *message);

/* `some_name` as "someName". */
static void put_key(struct buf *out, const char *name)
{
    buf_putc(out, '"');
    for (; *name; name++) {
        bool hump = *name == '_' && name[1];
        name += hump;
        buf_putc(out, (char)(hump && *name >= 'a' && *name <= 'z' ? *name - 'a' + 'A' : *name));
    }
    buf_puts(out, "\":");
}

static void put_double(struct buf *out, double number)
{
    if (isnan(number))
        buf_puts(out, "\"NaN\"");
    else if (isinf(number))
        buf_puts(out, number > 0 ? "\"Infinity\"" : "\"-Infinity\"");
    else
        buf_printf(out, "%.17g", number);
}

static void put_hex(struct buf *out, const ProtobufCBinaryData *bytes)
{
    buf_putc(out, '"');
    for (size_t i = 0; i < bytes->len; i++)
        buf_printf(out, "%02x", bytes->data[i]);
    buf_putc(out, '"');
}

static void put_value(struct buf *out, const ProtobufCFieldDescriptor *field, const void *at)
{
    switch (field->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_ENUM:
        buf_printf(out, "%" PRId32, *(const int32_t *)at);
        return;
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        buf_printf(out, "%" PRIu32, *(const uint32_t *)at);
        return;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        buf_printf(out, "\"%" PRId64 "\"", *(const int64_t *)at);
        return;
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        buf_printf(out, "\"%" PRIu64 "\"", *(const uint64_t *)at);
        return;
    case PROTOBUF_C_TYPE_FLOAT:
        put_double(out, (double)*(const float *)at);
        return;
    case PROTOBUF_C_TYPE_DOUBLE:
        put_double(out, *(const double *)at);
        return;
    case PROTOBUF_C_TYPE_BOOL:
        buf_puts(out, *(const protobuf_c_boolean *)at ? "true" : "false");
        return;
    case PROTOBUF_C_TYPE_STRING:
        buf_json_string(out, *(const char *const *)at, strlen(*(const char *const *)at));
        return;
    case PROTOBUF_C_TYPE_BYTES:
        put_hex(out, at);
        return;
    case PROTOBUF_C_TYPE_MESSAGE:
        put_message(out, *(const ProtobufCMessage *const *)at);
        return;
    }
}

static size_t element_size(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return sizeof(uint64_t);
    case PROTOBUF_C_TYPE_BOOL:
        return sizeof(protobuf_c_boolean);
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
        return sizeof(void *);
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    default:
        return sizeof(uint32_t);
    }
}

/* Whether a field that is neither repeated nor in a oneof has its default, which proto3 does not write. */
static bool is_default(const ProtobufCFieldDescriptor *field, const void *at)
{
    static const uint64_t zero;
    if (field->type == PROTOBUF_C_TYPE_MESSAGE)
        return !*(const void *const *)at;
    if (field->type == PROTOBUF_C_TYPE_STRING)
        return !*(const char *const *)at || !**(const char *const *)at;
    if (field->type == PROTOBUF_C_TYPE_BYTES)
        return !((const ProtobufCBinaryData *)at)->len;
    return !memcmp(at, &zero, element_size(field->type));
}

static void put_list(struct buf *out, const ProtobufCFieldDescriptor *field, const char *elements, size_t n)
{
    buf_putc(out, '[');
    for (size_t i = 0; i < n; i++) {
        if (i)
            buf_putc(out, ',');
        put_value(out, field, elements + i * element_size(field->type));
    }
    buf_putc(out, ']');
}

static void put_message(struct buf *out, const ProtobufCMessage *message)
{
    const char *base = (const char *)message;
    bool first = true;
    buf_putc(out, '{');
    for (unsigned i = 0; i < message->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &message->descriptor->fields[i];
        const char *at = base + field->offset;
        bool repeated = field->label == PROTOBUF_C_LABEL_REPEATED;
        /* The quantifier is a count, or, in a oneof, the number of the field that is there. */
        if (repeated ? !*(const size_t *)(base + field->quantifier_offset)
            : field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF
                ? *(const uint32_t *)(base + field->quantifier_offset) != field->id
                : is_default(field, at))
            continue;
        if (!first)
            buf_putc(out, ',');
        first = false;
        put_key(out, field->name);
        if (repeated)
            put_list(out, field, *(const char *const *)at, *(const size_t *)(base + field->quantifier_offset));
        else
            put_value(out, field, at);
    }
    buf_putc(out, '}');
}

int otlp_json(const ProtobufCMessageDescriptor *type, const void *message, size_t len, struct buf *out)
{
    ProtobufCMessage *unpacked = protobuf_c_message_unpack(type, NULL, len, message);
    if (!unpacked)
        return -EBADMSG;
    put_message(out, unpacked);
    protobuf_c_message_free_unpacked(unpacked, NULL);
    return out->failed ? -ENOMEM : 0;
}
