#include "base/own_socket.h"

#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/fsuid.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef IPV6_TRANSPARENT
#define IPV6_TRANSPARENT 75 /* linux/in6.h */
#endif
#define UNCHANGED ((gid_t)-1)
#define TRIES 8

/* Groups in rules are those of the user namespace that the network namespace belongs to. */
static bool rules_see_groups(void)
{
    struct stat of_rules, ours;
    _cleanup_close_ int network = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    _cleanup_close_ int owner = network < 0 ? -1 : ioctl(network, NS_GET_USERNS);
    return owner >= 0 && !fstat(owner, &of_rules) && !stat("/proc/self/ns/user", &ours) &&
           of_rules.st_ino == ours.st_ino && of_rules.st_dev == ours.st_dev;
}

#ifdef __SANITIZE_ADDRESS__
/* At its end LeakSanitizer looks into the process from another one, which must be of the same groups. */
static void give_back(void)
{
    if (!setresgid(UNCHANGED, UNCHANGED, getegid()))
        prctl(PR_SET_DUMPABLE, 1L);
}
#endif

uint32_t own_group_take(void)
{
    if (!rules_see_groups())
        return 0;
    for (size_t i = 0; i < TRIES; i++) {
        uint32_t group;
        if (getrandom(&group, sizeof(group), 0) != sizeof(group))
            return 0;
        /* A user namespace may have no more than 65,536 of them. */
        group = i < TRIES / 2 ? group & INT32_MAX : group & UINT16_MAX;
        if (!group || group == getegid())
            continue;
        if (!setresgid(UNCHANGED, UNCHANGED, group)) {
#ifdef __SANITIZE_ADDRESS__
            atexit(give_back);
#endif
            return group;
        }
        if (errno != EINVAL)
            return 0;
    }
    return 0;
}

/* What a change of credentials takes away: the supervisor's end is to end this process, too. */
struct death {
    int signal;
    pid_t parent;
};

static struct death death_keep(void)
{
    struct death death = {.parent = getppid()};
    prctl(PR_GET_PDEATHSIG, &death.signal);
    return death;
}

static void death_restore(const struct death *death)
{
    if (!death->signal)
        return;
    prctl(PR_SET_PDEATHSIG, (long)death->signal);
    if (getppid() != death->parent) /* it ended meanwhile */
        raise(death->signal);
}

int own_socket_open(int family, int type)
{
    gid_t real, effective, group;
    getresgid(&real, &effective, &group);
    if (group == effective) {
        int fd = socket(family, type | SOCK_CLOEXEC, 0);
        return fd < 0 ? -errno : fd;
    }
    struct death death = death_keep();
    setfsgid(group);
    int fd = socket(family, type | SOCK_CLOEXEC, 0), error = errno;
    setfsgid(effective);
    death_restore(&death);
    if (fd < 0)
        return -error;
    /* What the kernel sends when the socket is gone, for a connection that is not yet, has no group: a reset instead.
     */
    const struct linger reset = {.l_onoff = 1};
    if ((type & ~(SOCK_CLOEXEC | SOCK_NONBLOCK)) == SOCK_STREAM)
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    return fd;
}

int own_mark_draw(struct own_mark *ret)
{
    do {
        if (getrandom(&ret->mark, sizeof(ret->mark), 0) != sizeof(ret->mark))
            return -errno;
    } while (!ret->mark);
    return 0;
}

int own_socket_prepare(int fd, sa_family_t family, const struct own_mark *own)
{
    int on = 1;
    if (!own) /* to an exempt server, whose answers a container runtime may have redirected */
        return 0;
    if (setsockopt(fd, SOL_SOCKET, SO_MARK, &own->mark, sizeof(own->mark)))
        return -errno;
    int error = family == AF_INET ? setsockopt(fd, IPPROTO_IP, IP_TRANSPARENT, &on, sizeof(on))
                                  : setsockopt(fd, IPPROTO_IPV6, IPV6_TRANSPARENT, &on, sizeof(on));
    return error ? -errno : 0;
}
