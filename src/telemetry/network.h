/* What the export thread does over the network: endpoints over HTTP, and their end when the process stops. Calls belong
 * to the export thread unless said otherwise; nothing blocks but network_wait(). */
#ifndef TELEMETRY_NETWORK_H
#define TELEMETRY_NETWORK_H

#include "base/log.h"
#include "base/lookup.h"
#include "base/metrics.h"
#include "base/own_socket.h"
#include "base/why.h"
#include "telemetry/collect.h"
#include "telemetry/otel_env.h"
#include "telemetry/resource.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Pointers are borrowed for the life of the network. */
struct network_settings {
    const struct own_mark *own; /* of all sockets; NULL: none */
    struct lookup_hook names;   /* resolves the names of endpoints */
    const char *webhook;        /* URL told of denied names, see webhook.h; NULL: none */
    const char *sandbox_id;     /* may be NULL */
    /* What leaves by OTLP, see pipelines.h; no environment: nothing. */
    const struct otel_env *otel;
    const struct resource *resource;
    const struct attribute *attributes;
    size_t n_attributes;
    struct meter *meter;
    struct metrics *metrics;
    /* Called once after network_flush(), when nothing goes over the network any more. */
    void (*flushed)(void *ctx);
    void *flushed_ctx;
};

struct network;

/* `wake_fd`: an eventfd that ends network_wait(). `log`: the export thread's own. With an endpoint it loads libcurl,
 * which takes milliseconds. 0, or a negative errno and why; -ELIBACC: libcurl is not to be had. Called by whoever
 * starts the export thread. */
int network_new(const struct network_settings *settings, int wake_fd, struct log *log, struct network **ret,
                struct why *why);
/* Nothing is under way in the loop any more. NULL is fine. */
void network_free(struct network *network);
/* Moves everything on as far as it goes now. */
void network_step(struct network *network);
/* Until there is something for network_step(), wake_fd was rung (and clears it), or the time is over. */
void network_wait(struct network *network, unsigned timeout_ms);
/* As log_set_bell(), for what other threads put in. */
void network_set_bell(struct network *network, int event_fd);

/* A record that is written to the log's outputs. */
void network_record(struct network *network, const struct log_record *record);

/* A name (wire format) was denied now. The loop thread; does not block. */
void network_denied(struct network *network, const uint8_t *name, size_t len);
/* The process is going to stop: what waits is sent now, for at most `timeout_ms`, and what is left then given up and
 * counted. Names must be resolved meanwhile. False when there is no endpoint, and then `flushed` is not called. Any
 * thread, once; wake_fd must be rung then. */
bool network_flush(struct network *network, unsigned timeout_ms);

#endif
