/* An encoded OTLP request as the body that its protocol sends: as it is, as JSON, framed for gRPC; perhaps compressed.
 */
#ifndef TELEMETRY_OTLP_BODY_H
#define TELEMETRY_OTLP_BODY_H

#include "base/buf.h"
#include "telemetry/otel_env.h"

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>

/* A larger request, before it is compressed, is not sent: receivers refuse it. */
#define OTLP_REQUEST_MAX (64u << 20)

/* Replaces what is in `ret`. 0, -EMSGSIZE (larger than OTLP_REQUEST_MAX), -EBADMSG (no message of this type) or
 * -ENOMEM. */
int otlp_body(enum otlp_protocol protocol, bool gzip, const ProtobufCMessageDescriptor *type, const void *request,
              size_t len, struct buf *ret);

#endif
