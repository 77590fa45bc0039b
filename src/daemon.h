/* The daemon: owns every module, wires them, commits policy changes, starts and stops in order. */
#ifndef DAEMON_H
#define DAEMON_H

#include "base/why.h"
#include "config.h"

/* Why a start failed, as an exit code (sysexits.h where it has one). */
enum daemon_exit {
    EXIT_OK = 0,
    EXIT_USAGE = 64,
    EXIT_UNAVAILABLE = 69, /* a port is taken, the kernel refuses */
    EXIT_NO_CAPABILITY = 77,
    EXIT_CONFIG = 78,
};

/* Runs until SIGTERM or SIGINT. When it cannot start, says why in `why` and returns the code to exit with; the caller
 * closes the namespace then. Blocks. */
enum daemon_exit daemon_run(const struct config *config, struct why *why);

#endif
