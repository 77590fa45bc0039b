/* One signal's way to its collector: OTLP over HTTP (protobuf or JSON) or gRPC, one request at a time, with the retries
 * that the protocol asks for. Runs in the export thread, never blocks; what becomes of data points or records is
 * counted and, at most once a minute, said. */
#ifndef TELEMETRY_OTLP_CLIENT_H
#define TELEMETRY_OTLP_CLIENT_H

#include "base/log.h"
#include "base/metrics.h"
#include "telemetry/http.h"
#include "telemetry/otel_env.h"

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Everything is borrowed. */
struct otlp_client_settings {
    const struct otlp_settings *otlp; /* with a URL */
    const ProtobufCMessageDescriptor *request;
    bool is_logs;        /* else metrics: which cells count, and what is said */
    unsigned timeout_ms; /* for one request with its retries; 0: none */
    struct http *http;
    struct metrics *metrics;
    struct log *log;
};

struct otlp_client;

/* 0 or -ENOMEM. */
int otlp_client_new(const struct otlp_client_settings *settings, struct otlp_client **ret);
/* Cancels what is under way, uncounted. NULL is fine. */
void otlp_client_free(struct otlp_client *client);
/* Whether a request is under way, or waits to be sent again. */
bool otlp_client_busy(const struct otlp_client *client);
/* Sends an encoded request with `items` points or records. Only when not busy; copied as it must be. */
void otlp_client_send(struct otlp_client *client, const void *request, size_t len, size_t items, uint64_t now_ns);
/* Sends again what has waited for long enough. */
void otlp_client_step(struct otlp_client *client, uint64_t now_ns);
/* When otlp_client_step() has something to do; UINT64_MAX: nothing. */
uint64_t otlp_client_due(const struct otlp_client *client);
/* The request under way must be over by then: its timeout may only become shorter. */
void otlp_client_hurry(struct otlp_client *client, uint64_t deadline_ns);
/* Gives up the request under way, which counts as not exported. */
void otlp_client_give_up(struct otlp_client *client);
/* The end: tells of what was lost since the latest warning, however short a time ago that was. */
void otlp_client_tell(struct otlp_client *client);

#endif
