/* Where log lines go: stdout, stderr, files that rotate. An output that fails loses lines, counts them and says so in
 * a record of its own; it never ends the program and never holds back what the others get. */
#ifndef TELEMETRY_LOG_OUTPUT_H
#define TELEMETRY_LOG_OUTPUT_H

#include "base/log.h"
#include "base/why.h"
#include "telemetry/log_archive.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct log_outputs;

/* Opens all of `names` ("stdout", "stderr" or file paths; a name that comes twice counts once). Files are appended to,
 * and made with mode 0640. `reports` takes what goes wrong later (one thread uses both). `limits` are for regular
 * files. 0 or -errno with `why` naming the path that cannot be written. */
int log_outputs_new(const char *const *names, size_t n, const struct log_limits *limits, struct log *reports,
                    struct log_outputs **ret, struct why *why);
void log_outputs_free(struct log_outputs *outputs);
/* Writes whole lines to every output, or keeps what a pipe, socket or terminal does not take now: up to 1 MiB each, and
 * what comes then is lost and counted. Blocks on the disk only. */
void log_outputs_write(struct log_outputs *outputs, const char *lines, size_t len);
/* Lines that an output did not get, over all outputs since the start. */
uint64_t log_outputs_lost(const struct log_outputs *outputs);
/* Writes more of what was kept; false when something still is: call again soon. */
bool log_outputs_settle(struct log_outputs *outputs);
/* Opens the files by their names again. One that cannot be opened goes on as it was. */
void log_outputs_reopen(struct log_outputs *outputs);
/* Compresses and removes rotated files, a slice at a time; true when there is more to do. */
bool log_outputs_tidy(struct log_outputs *outputs);

#endif
