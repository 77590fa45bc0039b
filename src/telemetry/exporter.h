/* The export thread: takes log records from the producers' queues and writes them. It may block; nobody waits for it. */
#ifndef TELEMETRY_EXPORTER_H
#define TELEMETRY_EXPORTER_H

#include "base/log.h"
#include "base/why.h"

#include <stddef.h>

/* A constant field on every line (sandbox_id, extra attributes). */
struct attribute {
    const char *key, *value;
};

/* All pointers are borrowed until exporter_stop(). */
struct exporter_settings {
    const char *const *outputs; /* "stdout", "stderr" or file paths */
    size_t n_outputs;
    const struct attribute *attributes;
    size_t n_attributes;
    struct log *const *logs; /* the queues to read */
    size_t n_logs;
};

struct exporter;

/* Opens the outputs and starts the thread. -errno with `why` naming the path that cannot be written. */
int exporter_start(const struct exporter_settings *settings, struct exporter **ret, struct why *why);
/* Log files are opened anew by their names (SIGHUP). Any thread; returns at once. */
void exporter_reopen(struct exporter *exporter);
/* Writes what is queued, for at most `timeout_ms`, and ends the thread. False when time ran out: then the exporter is
 * left alone (its thread hangs in a write) and the process should end with _exit(). */
bool exporter_stop(struct exporter *exporter, unsigned timeout_ms);

#endif
