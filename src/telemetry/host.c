#include "telemetry/host.h"

#include "base/cleanup.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

/* The beginning of a file as text, as much as fits: what is asked for is in the first lines of all of them. */
static bool read_file(const char *proc, const char *name, char *text, size_t size)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", proc, name);
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, size - 1);
    if (n <= 0)
        return false;
    text[n] = '\0';
    return true;
}

static bool find_kilobytes(const char *text, const char *label, uint64_t *ret)
{
    const char *line = strstr(text, label);
    return line && sscanf(line + strlen(label), " %" SCNu64 " kB", ret) == 1;
}

static uint64_t memory_used(const char *proc)
{
    char text[1024];
    uint64_t total, available;
    if (!read_file(proc, "meminfo", text, sizeof(text)) || !find_kilobytes(text, "MemTotal:", &total) ||
        !find_kilobytes(text, "MemAvailable:", &available) || available > total)
        return 0;
    return (total - available) * 1024;
}

/* user nice system idle iowait irq softirq steal; the time of guests is in user and nice already (proc(5)). */
static double cpu_utilization(struct host *host, const char *proc)
{
    char text[512];
    uint64_t ticks[8] = {0}, total = 0;
    if (!read_file(proc, "stat", text, sizeof(text)) ||
        sscanf(text, "cpu %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64,
               &ticks[0], &ticks[1], &ticks[2], &ticks[3], &ticks[4], &ticks[5], &ticks[6], &ticks[7]) < 4)
        return 0;
    for (size_t i = 0; i < 8; i++)
        total += ticks[i];
    uint64_t busy = total - ticks[3] - ticks[4];
    /* Idle time and that spent waiting for disks can go back a little. Between two looks in one tick nothing is new. */
    if (host->total && total > host->total)
        host->utilization = busy > host->busy ? (double)(busy - host->busy) / (double)(total - host->total) : 0;
    if (host->utilization > 1)
        host->utilization = 1;
    host->busy = busy;
    host->total = total;
    return host->utilization;
}

static uint64_t resident(const char *proc)
{
    char text[256];
    uint64_t size, pages;
    if (!read_file(proc, "self/statm", text, sizeof(text)) || sscanf(text, "%" SCNu64 " %" SCNu64, &size, &pages) != 2)
        return 0;
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static double seconds(struct timeval time)
{
    return (double)time.tv_sec + (double)time.tv_usec / 1e6;
}

void host_read(struct host *host, const char *proc, struct host_values *ret)
{
    struct rusage usage = {0};
    getrusage(RUSAGE_SELF, &usage);
    *ret = (struct host_values){
        .memory_used = memory_used(proc),
        .cpu_utilization = cpu_utilization(host, proc),
        .resident = resident(proc),
        .cpu_user_s = seconds(usage.ru_utime),
        .cpu_system_s = seconds(usage.ru_stime),
    };
}
