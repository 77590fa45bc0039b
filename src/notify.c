#include "notify.h"

#include "base/cleanup.h"
#include "base/text.h"

#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

/* Abstract sockets begin with '@' in the variable and with a zero byte in the address. */
static int connect_to(const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    size_t len = strlen(path);
    if ((*path != '/' && *path != '@') || len < 2 || len >= sizeof(addr.sun_path))
        return -1;
    memcpy(addr.sun_path, path, len);
    if (*path == '@')
        addr.sun_path[0] = '\0';
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 ||
        connect(fd, (const struct sockaddr *)&addr, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)))
        return -1;
    return take_fd(&fd);
}

/* WATCHDOG_PID tells whose signs of life are meant: not ours when the variables were inherited by mistake. */
static uint64_t watchdog_interval(void)
{
    unsigned usec, pid;
    const char *interval = getenv("WATCHDOG_USEC"), *whose = getenv("WATCHDOG_PID");
    if (!interval || !text_whole_number(interval, 1, UINT_MAX, &usec))
        return 0;
    if (whose && (!text_whole_number(whose, 1, INT_MAX, &pid) || pid != (unsigned)getpid()))
        return 0;
    return (uint64_t)usec * 1000 / 2;
}

void notify_open(struct notify *ret)
{
    const char *path = getenv("NOTIFY_SOCKET");
    *ret = (struct notify){.fd = path ? connect_to(path) : -1};
    if (ret->fd >= 0)
        ret->watchdog_ns = watchdog_interval();
}

void notify_close(struct notify *notify)
{
    cleanup_close(&notify->fd);
    notify->fd = -1;
}

static void tell(const struct notify *notify, const char *text)
{
    if (notify->fd >= 0)
        send(notify->fd, text, strlen(text), MSG_NOSIGNAL);
}

static void watchdog_fired(struct loop_timer *timer)
{
    struct notify *notify = timer->owner;
    tell(notify, "WATCHDOG=1");
    loop_timer_set(notify->loop, timer, loop_now(notify->loop) + notify->watchdog_ns);
}

void notify_ready(struct notify *notify, struct loop *loop)
{
    tell(notify, "READY=1\nSTATUS=The sandbox is guarded.");
    if (!notify->watchdog_ns)
        return;
    notify->loop = loop;
    notify->watchdog = (struct loop_timer){.fire = watchdog_fired, .owner = notify};
    loop_timer_set(loop, &notify->watchdog, clock_monotonic_ns() + notify->watchdog_ns);
}

void notify_stopping(const struct notify *notify, unsigned seconds)
{
    char text[96];
    snprintf(text, sizeof(text), "STOPPING=1\nSTATUS=Stopping.\nEXTEND_TIMEOUT_USEC=%llu",
             (unsigned long long)seconds * 1000000);
    tell(notify, text);
}
