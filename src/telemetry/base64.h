/* Base64 (RFC 4648 section 4) of binary gRPC headers. */
#ifndef TELEMETRY_BASE64_H
#define TELEMETRY_BASE64_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Decodes text with or without its padding; false when it is none, or longer than `max` bytes. */
bool base64_decode(const char *text, uint8_t *out, size_t max, size_t *ret_len);

#endif
