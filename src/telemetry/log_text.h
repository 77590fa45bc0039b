/* Values of the hot log lines as text, without printf. Everything written here is plain inside a JSON string. */
#ifndef TELEMETRY_LOG_TEXT_H
#define TELEMETRY_LOG_TEXT_H

#include "base/buf.h"
#include "base/ip.h"

#include <stddef.h>
#include <stdint.h>

/* A name in wire format as domain_name_text() writes it, with backslashes doubled for JSON. */
void log_text_name(struct buf *buf, const uint8_t *wire, size_t len);

/* The same text as ip_format(), without a final NUL; returns its length. */
size_t log_text_ip(const struct ip_addr *addr, char out[IP_TEXT_MAX]);

#endif
