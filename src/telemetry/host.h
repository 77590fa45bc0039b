/* What the kernel says about the host and this process. Reads /proc; does not block for longer than that. */
#ifndef TELEMETRY_HOST_H
#define TELEMETRY_HOST_H

#include <stdint.h>

#define HOST_PROC "/proc"

/* What one reader remembers of its previous look at the CPUs. All zero bytes: there was none. */
struct host {
    uint64_t busy, total; /* ticks of all CPUs */
    double utilization;
};

/* What cannot be read is 0. */
struct host_values {
    uint64_t memory_used;   /* bytes of the host: MemTotal - MemAvailable */
    double cpu_utilization; /* 0..1 since the previous look; the first is 0 */
    uint64_t resident;      /* bytes of this process */
    double cpu_user_s, cpu_system_s;
};

/* `proc`: HOST_PROC, but for tests. */
void host_read(struct host *host, const char *proc, struct host_values *ret);

#endif
