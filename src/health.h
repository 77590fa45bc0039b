/* The question of a container's health check: does the sidecar of this namespace say that enforcement is in place? */
#ifndef HEALTH_H
#define HEALTH_H

#include "base/ip.h"
#include "base/why.h"

/* Where GET /healthz is asked when the API listens on `listen`: an unspecified address is that of loopback. */
struct sock_addr health_address(const struct sock_addr *listen, bool any);
/* 0 when the answer is 200, -EHOSTDOWN when it is another one, either with its line as `why`; -errno when there is none
 * within `timeout_ms`. Blocks. */
int health_ask(const struct sock_addr *addr, unsigned timeout_ms, struct why *why);
/* The same by the API's socket in the file system, where nobody of the sandbox answers in the sidecar's place. */
int health_ask_local(const char *path, unsigned timeout_ms, struct why *why);

#endif
