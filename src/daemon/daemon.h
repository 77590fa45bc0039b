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

/* How a run ended. */
struct daemon_end {
    enum daemon_exit code;
    struct why why;  /* unless EXIT_OK; the caller closes the namespace then */
    bool port_taken; /* nothing was begun: whoever has it may be the sidecar that is to be here */
    bool unfinished; /* a thread still runs (it hangs in a write, say): end with _exit(), free nothing it may use */
};

/* Runs until SIGTERM or SIGINT, or until it finds that it cannot start. Blocks. `life_fd`: for signs of life to the
 * supervisor (supervise.h), or -1. */
void daemon_run(const struct config *config, int life_fd, struct daemon_end *ret);

/* Whether the API's certificate, key and authority of clients can be used, if there are any. 0 or -errno with `why`.
 * Blocks. */
int daemon_check_tls(const struct config *config, struct why *why);

#endif
