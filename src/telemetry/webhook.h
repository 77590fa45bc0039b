/* Tells a webhook of denied names: one POST each, a few at a time, tried again when nobody answers. What does not fit
 * into the queue of 256 is dropped and counted. The loop thread puts names in, everything else is the export thread's.
 */
#ifndef TELEMETRY_WEBHOOK_H
#define TELEMETRY_WEBHOOK_H

#include "base/log.h"
#include "base/metrics.h"
#include "telemetry/http.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* All pointers are borrowed. */
struct webhook_settings {
    const char *url;
    const char *sandbox_id; /* NULL: "" is sent */
    struct http *http;
    struct log *log; /* the export thread's own */
    struct metrics *metrics;
};

struct webhook;

int webhook_new(const struct webhook_settings *settings, struct webhook **ret);
/* Cancels what is under way; NULL is fine. */
void webhook_free(struct webhook *webhook);

/* --- the loop thread --- */

/* A name (wire format) was denied now. Does not block; at most one system call, when the bell is set. */
void webhook_denied(struct webhook *webhook, const uint8_t *name, size_t len);

/* --- the export thread --- */

/* Starts what is due. Returns in how many milliseconds it wants to be called again at the latest, UINT_MAX: only for
 * new names. */
unsigned webhook_step(struct webhook *webhook);
/* The next name that comes rings this eventfd once; -1: none. As log_set_bell(). */
void webhook_set_bell(struct webhook *webhook, int event_fd);
/* Nothing is queued or under way. */
bool webhook_idle(const struct webhook *webhook);
/* The end: what is queued and under way counts as failed. */
void webhook_give_up(struct webhook *webhook);

#endif
