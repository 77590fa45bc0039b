/* Encoded OTLP messages as OTLP/JSON (OTLP specification, "JSON Protobuf Encoding"): names in lowerCamelCase, enums as
 * numbers, 64-bit integers as text, ids in hex. One walk over what protobuf-c knows of any message. */
#ifndef TELEMETRY_OTLP_JSON_H
#define TELEMETRY_OTLP_JSON_H

#include "base/buf.h"

#include <protobuf-c/protobuf-c.h>
#include <stddef.h>

/* Appends the message of this type as one JSON value. 0, -EBADMSG when it cannot be decoded, or -ENOMEM. */
int otlp_json(const ProtobufCMessageDescriptor *type, const void *message, size_t len, struct buf *out);

#endif
