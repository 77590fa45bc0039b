/* A parent that starts the sidecar again when it crashes or hangs: for containers, where nobody else does it fast
 * enough and where it is PID 1. The kernel's rules stay in place in between, so the sandbox is closed, not open. It
 * hands SIGTERM, SIGINT and SIGHUP on, reaps orphans, and takes the sidecar along when it is killed itself. */
#ifndef SUPERVISE_H
#define SUPERVISE_H

#include "backoff.h"
#include "base/loop.h"
#include "base/why.h"
#include "telemetry/log_json.h"

#define SUPERVISE_START_NS (60 * NS_PER_S)

struct supervise_settings {
    struct backoff_limits backoff;
    const int *final; /* exit codes that no other start would change */
    size_t n_final;
    enum log_level log_level;
    const struct attribute *attributes; /* of every line */
    size_t n_attributes;
    int log_fd; /* for the JSON lines; one that does not fit at once is lost, never waited for */
    /* How long it may give no sign of life before it is killed, and started again; 0: for ever. A start may take
     * SUPERVISE_START_NS when that is longer. */
    uint64_t silence_ns;
    /* Becomes the sidecar, in the new process, with SIGTERM, SIGINT and SIGHUP blocked; returns its exit code. Signs of
     * life are octets written to `life_fd`, which does not block: enum life_sign (notify.h). */
    int (*become)(void *ctx, int life_fd);
    void *ctx;
};

enum supervise_end {
    SUPERVISE_STOPPED, /* asked to stop while the sidecar was not running */
    SUPERVISE_EXITED,  /* the sidecar ended, by a signal to us or for good: `code` is its own, 128 + n after signal n */
    SUPERVISE_GAVE_UP, /* it ended too often; `why` */
    SUPERVISE_IMPOSSIBLE /* no start was possible; `why` */
};

/* Blocks until it is over. To be called by a process of one thread; leaves SIGTERM, SIGINT, SIGHUP and SIGCHLD blocked.
 */
enum supervise_end supervise(const struct supervise_settings *settings, int *ret_code, struct why *why);

#endif
