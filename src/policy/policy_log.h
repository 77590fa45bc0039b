/* Rules in log records. */
#ifndef POLICY_POLICY_LOG_H
#define POLICY_POLICY_LOG_H

#include "base/log.h"

#include <stddef.h>

/* Adds the field `rules` to the record that was begun. JSON longer than 8 KiB (container runtimes split lines at 16
 * KiB) gives way to `rules_count` and `rules_digest`, its SHA-256 in hex. */
void policy_log_rules(struct log *log, const char *json, size_t len, size_t count);

#endif
