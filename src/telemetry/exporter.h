/* The export thread: takes log records from the producers' queues and writes them, and talks to endpoints (network.h).
 * It may block; nobody waits for it.
 *
 * While records come it naps a few milliseconds between rounds and costs the producers nothing; when none have come for
 * a while it sleeps (a wake-up a second) until the first record rings. */
#ifndef TELEMETRY_EXPORTER_H
#define TELEMETRY_EXPORTER_H

#include "base/log.h"
#include "base/metrics.h"
#include "base/recent.h"
#include "base/why.h"
#include "telemetry/log_json.h"
#include "telemetry/network.h"

#include <stdbool.h>
#include <stddef.h>

/* All pointers are borrowed until exporter_stop(). */
struct exporter_settings {
    const char *const *outputs; /* "stdout", "stderr" or file paths */
    size_t n_outputs;
    const struct attribute *attributes;
    size_t n_attributes;
    struct log *const *logs; /* the queues to read */
    size_t n_logs;
    struct recent *recent; /* gets the events; NULL: nobody does */
    struct metrics *metrics;
    struct network_settings network;
};

struct exporter;

/* Opens the outputs and loads what the network takes. -errno with `why` naming the path that cannot be written;
 * -ELIBACC: see network_new(). To be released with exporter_stop(), started or not. */
int exporter_new(const struct exporter_settings *settings, struct exporter **ret, struct why *why);
/* Starts the thread, which takes over the caller's signal mask (block what main handles; SIGPIPE must be ignored). */
int exporter_start(struct exporter *exporter, struct why *why);
/* Log files are opened anew by their names (SIGHUP). Any thread; returns at once. */
void exporter_reopen(struct exporter *exporter);
/* See network.h. */
void exporter_denied(struct exporter *exporter, const uint8_t *name, size_t len);
bool exporter_flush(struct exporter *exporter, unsigned timeout_ms);
/* Writes what is queued, for at most `timeout_ms`, and ends the thread; NULL is fine. Other threads have recorded their
 * last line before. False when time ran out, since the thread hangs in a write: then nothing is released, this may be
 * called again, and a process that does not want to wait ends with _exit(). */
bool exporter_stop(struct exporter *exporter, unsigned timeout_ms);

#endif
