/* The addresses of the hosts that the export thread connects to: asked of the loop, kept for as long as their TTL says,
 * but at least 5 s and at most 5 min. Belongs to the export thread. */
#ifndef TELEMETRY_HOSTS_H
#define TELEMETRY_HOSTS_H

#include "base/lookup.h"

#include <stdint.h>

#define HOSTS_MAX 8 /* names; each belongs to an endpoint of the configuration */

struct hosts;

/* `wake_fd`: an eventfd, rung when an answer has come. Both are borrowed. */
int hosts_new(const struct lookup_hook *hook, int wake_fd, struct hosts **ret);
/* The loop has ended, or no question is under way. */
void hosts_free(struct hosts *hosts);
/* 0 and the addresses, valid until the next call; -EINPROGRESS: they were asked for, ask again when `wake_fd` was rung;
 * -EHOSTUNREACH and `ret_error`: there are none (held for a second); -ENOSPC: too many names. `now_ns` is
 * CLOCK_MONOTONIC. */
int hosts_find(struct hosts *hosts, const char *host, uint64_t now_ns, const struct lookup **ret,
               const char **ret_error);
/* Nobody could be reached there: the next hosts_find() asks anew. */
void hosts_forget(struct hosts *hosts, const char *host);

#endif
