#include "memory_limit.h"

#include "base/cleanup.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* "max" and what is absurdly much are no limit. */
static uint64_t read_limit(const char *folder, const char *group, const char *file)
{
    char path[PATH_MAX];
    unsigned long long limit = 0;
    if (snprintf(path, sizeof(path), "%s%s/%s", folder, group, file) >= (int)sizeof(path))
        return UINT64_MAX;
    FILE *stream = fopen(path, "re");
    if (!stream)
        return UINT64_MAX;
    int n = fscanf(stream, "%19llu", &limit);
    fclose(stream);
    return n == 1 && limit ? limit : UINT64_MAX;
}

/* Seen from inside a container the group's path may be that of the machine, and only the top be there: its own. */
static uint64_t least_upwards(const char *folder, char *group, const char *file)
{
    uint64_t least = UINT64_MAX;
    for (;;) {
        uint64_t limit = read_limit(folder, group, file);
        least = limit < least ? limit : least;
        char *slash = strrchr(group, '/');
        if (!slash)
            return least;
        *slash = '\0';
    }
}

uint64_t memory_limit(void)
{
    uint64_t least = UINT64_MAX;
    _cleanup_free_ char *line = NULL;
    size_t room = 0;
    FILE *groups = fopen("/proc/self/cgroup", "re");
    while (groups && getline(&line, &room, groups) > 0) { /* 4:memory:/path, or 0::/path for version 2 */
        uint64_t limit = UINT64_MAX;
        char *path = strchr(line, '/');
        if (!path)
            continue;
        path[strcspn(path, "\n")] = '\0';
        if (!strncmp(line, "0::", 3))
            limit = least_upwards("/sys/fs/cgroup", path, "memory.max");
        else if (strstr(line, ":memory:"))
            limit = least_upwards("/sys/fs/cgroup/memory", path, "memory.limit_in_bytes");
        least = limit < least ? limit : least;
    }
    if (groups)
        fclose(groups);
    return least;
}
