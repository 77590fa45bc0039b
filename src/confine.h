/* The process confines itself to what it does, before it touches the first byte that a stranger sent: see privileges.h,
 * secrets.h, landlock.h and syscalls.h. This module knows which files are needed. */
#ifndef CONFINE_H
#define CONFINE_H

#include "base/log.h"
#include "config.h"
#include "telemetry/otel_env.h"

/* To be called after privileges_drop(), when the environment is read and all libraries are loaded, before any thread is
 * started. What the kernel does not have is gone without: Landlock with a line at debug, seccomp with a warning.
 * 0, or -errno with `why`: a restriction that the kernel has could not be put in place. */
int confine(const struct config *config, const struct otel_env *otel, struct log *log, struct why *why);

#endif
