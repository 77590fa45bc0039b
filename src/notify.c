#include "notify.h"

#include "base/cleanup.h"
#include "base/text.h"

#include <errno.h>
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

/* systemd counts in 64 bits: 72 minutes are more than 32 hold. */
static bool whole_usec(const char *text, uint64_t *ret)
{
    char *end;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || errno || !number)
        return false;
    *ret = number < UINT64_MAX / 1000 ? number : UINT64_MAX / 1000;
    return true;
}

/* WATCHDOG_PID tells whose signs of life are meant: not ours when the variables were inherited by mistake. */
static uint64_t watchdog_interval(void)
{
    uint64_t usec;
    unsigned pid;
    const char *interval = getenv("WATCHDOG_USEC"), *whose = getenv("WATCHDOG_PID");
    if (!interval || !whole_usec(interval, &usec))
        return 0;
    if (whose && (!text_whole_number(whose, 1, INT_MAX, &pid) || pid != (unsigned)getpid()))
        return 0;
    return usec * 500; /* half of it, in ns */
}

void notify_open(int life_fd, struct notify *ret)
{
    const char *path = getenv("NOTIFY_SOCKET");
    *ret = (struct notify){.fd = path ? connect_to(path) : -1, .life_fd = life_fd};
    if (ret->fd >= 0)
        ret->watchdog_ns = watchdog_interval();
}

void notify_close(struct notify *notify)
{
    cleanup_close(&notify->fd);
    cleanup_close(&notify->life_fd);
    notify->fd = notify->life_fd = -1;
}

static void tell(const struct notify *notify, const char *text)
{
    if (notify->fd >= 0)
        send(notify->fd, text, strlen(text), MSG_NOSIGNAL);
}

/* A sign that finds no room is one of many. */
static void give_sign(const struct notify *notify, enum life_sign sign)
{
    char octet = (char)sign;
    if (notify->life_fd >= 0 && write(notify->life_fd, &octet, 1) < 0)
        return;
}

void notify_alive(const struct notify *notify)
{
    give_sign(notify, LIFE_GOES_ON);
}

void notify_ending(const struct notify *notify)
{
    give_sign(notify, LIFE_ENDS);
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
