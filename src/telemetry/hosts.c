#include "telemetry/hosts.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define KEEP_MIN_S 5
#define KEEP_MAX_S 300
#define KEEP_ERROR_S 1 /* those who wait for the same answer get the same answer */

struct host {
    struct hosts *hosts;
    struct lookup lookup;
    atomic_bool answered; /* by the loop */
    bool asked;
    uint64_t until_ns; /* the answer counts until then; 0: there is none */
};

struct hosts {
    struct lookup_hook hook;
    int wake_fd;
    struct host list[HOSTS_MAX];
    size_t n;
};

int hosts_new(const struct lookup_hook *hook, int wake_fd, struct hosts **ret)
{
    struct hosts *hosts = calloc(1, sizeof(*hosts));
    if (!hosts)
        return -ENOMEM;
    hosts->hook = *hook;
    hosts->wake_fd = wake_fd;
    *ret = hosts;
    return 0;
}

void hosts_free(struct hosts *hosts)
{
    free(hosts);
}

static void answered(struct lookup *lookup)
{
    struct host *host = lookup->owner;
    int wake_fd = host->hosts->wake_fd;
    atomic_store_explicit(&host->answered, true, memory_order_release);
    uint64_t one = 1;
    /* Fails only when the counter is full, and then the thread is about to look. */
    ssize_t ignored = write(wake_fd, &one, sizeof(one));
    (void)ignored;
}

static struct host *known(struct hosts *hosts, const char *name)
{
    for (size_t i = 0; i < hosts->n; i++)
        if (!strcasecmp(hosts->list[i].lookup.host, name))
            return &hosts->list[i];
    return NULL;
}

static struct host *add(struct hosts *hosts, const char *name)
{
    if (hosts->n == HOSTS_MAX || strlen(name) >= LOOKUP_HOST_MAX)
        return NULL;
    struct host *host = &hosts->list[hosts->n++];
    host->hosts = hosts;
    host->lookup.answered = answered;
    host->lookup.owner = host;
    strcpy(host->lookup.host, name);
    return host;
}

/* Takes the answer that has come, if any. */
static void take_answer(struct host *host, uint64_t now_ns)
{
    if (!host->asked || !atomic_load_explicit(&host->answered, memory_order_acquire))
        return;
    uint32_t seconds = host->lookup.ttl < KEEP_MAX_S ? host->lookup.ttl : KEEP_MAX_S;
    if (host->lookup.error)
        seconds = KEEP_ERROR_S;
    else if (seconds < KEEP_MIN_S)
        seconds = KEEP_MIN_S;
    host->asked = false;
    host->until_ns = now_ns + seconds * NS_PER_S;
}

int hosts_find(struct hosts *hosts, const char *name, uint64_t now_ns, const struct lookup **ret,
               const char **ret_error)
{
    struct host *host = known(hosts, name);
    if (!host && !(host = add(hosts, name)))
        return -ENOSPC;
    take_answer(host, now_ns);
    if (!host->asked && host->until_ns <= now_ns) {
        host->asked = true;
        host->until_ns = 0;
        atomic_store_explicit(&host->answered, false, memory_order_relaxed);
        hosts->hook.look_up(hosts->hook.ctx, &host->lookup);
    }
    if (host->asked)
        return -EINPROGRESS;
    if (host->lookup.error) {
        *ret_error = host->lookup.error;
        return -EHOSTUNREACH;
    }
    *ret = &host->lookup;
    return 0;
}

void hosts_forget(struct hosts *hosts, const char *name)
{
    struct host *host = known(hosts, name);
    if (host && !host->asked && !host->lookup.error)
        host->until_ns = 0;
}
