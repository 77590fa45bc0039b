#include "script.h"

#include <pthread.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PAIRS_MAX 64

typedef void *world_thread(void *arg);

static struct {
    bool begun, pairs;
    uint64_t now_ns, random;
    int ours[PAIRS_MAX], theirs[PAIRS_MAX];
    size_t n_pairs, taken;
    world_thread *thread; /* not started: it runs when it is joined */
    void *thread_arg;
} world;

uint8_t script_u8(struct script *script)
{
    return script->at < script->end ? *script->at++ : 0;
}

uint16_t script_u16(struct script *script)
{
    uint16_t high = script_u8(script);
    return (uint16_t)(high << 8 | script_u8(script));
}

const uint8_t *script_bytes(struct script *script, size_t *ret_len)
{
    size_t len = script_u16(script), left = (size_t)(script->end - script->at);
    const uint8_t *bytes = script->at;
    *ret_len = len < left ? len : left;
    script->at += *ret_len;
    return bytes;
}

void world_begin(void)
{
    world.begun = true;
    world.now_ns = NS_PER_S;
    world.random = 1;
    world.n_pairs = world.taken = 0;
}

void world_end(void)
{
    world.begun = world.pairs = false;
    while (world.taken < world.n_pairs)
        close(world.theirs[world.taken++]);
}

void world_advance(uint64_t ns)
{
    world.now_ns += ns;
}

static void stop(struct loop_timer *timer)
{
    loop_stop(timer->owner);
}

void world_turn(struct loop *loop)
{
    struct loop_timer timer = {.fire = stop, .owner = loop};
    world.now_ns++; /* no turn takes no time */
    must(loop_timer_set(loop, &timer, 0) == 0);
    must(loop_run(loop) == 0);
}

void world_pair_sockets(bool on)
{
    world.pairs = on;
}

int world_connected(void)
{
    return world.taken < world.n_pairs ? world.theirs[world.taken++] : -1;
}

/* --- in the place of the C library's --- */

int __real_clock_gettime(clockid_t clock, struct timespec *ret);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ret);
ssize_t __real_getrandom(void *ret, size_t len, unsigned flags);
ssize_t __wrap_getrandom(void *ret, size_t len, unsigned flags);
int __real_socket(int family, int type, int protocol);
int __wrap_socket(int family, int type, int protocol);
int __real_connect(int fd, const struct sockaddr *addr, socklen_t len);
int __wrap_connect(int fd, const struct sockaddr *addr, socklen_t len);
int __real_pthread_create(pthread_t *ret, const pthread_attr_t *attr, world_thread *run, void *arg);
int __wrap_pthread_create(pthread_t *ret, const pthread_attr_t *attr, world_thread *run, void *arg);
int __real_pthread_join(pthread_t thread, void **ret);
int __wrap_pthread_join(pthread_t thread, void **ret);

int __wrap_clock_gettime(clockid_t clock, struct timespec *ret)
{
    if (!world.begun)
        return __real_clock_gettime(clock, ret);
    *ret = (struct timespec){.tv_sec = (time_t)(world.now_ns / NS_PER_S), .tv_nsec = (long)(world.now_ns % NS_PER_S)};
    return 0;
}

ssize_t __wrap_getrandom(void *ret, size_t len, unsigned flags)
{
    if (!world.begun)
        return __real_getrandom(ret, len, flags);
    for (size_t i = 0; i < len; i++) {
        world.random = world.random * 6364136223846793005u + 1442695040888963407u;
        ((uint8_t *)ret)[i] = (uint8_t)(world.random >> 56);
    }
    return (ssize_t)len;
}

int __wrap_socket(int family, int type, int protocol)
{
    int pair[2];
    if (!world.pairs || family == AF_UNIX || (type & 0xf) != SOCK_STREAM || world.n_pairs == PAIRS_MAX) {
        int fd = __real_socket(family, type, protocol);
        for (size_t i = 0; i < world.n_pairs; i++) /* a number is used again */
            if (world.ours[i] == fd)
                world.ours[i] = -1;
        return fd;
    }
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair))
        return -1;
    world.ours[world.n_pairs] = pair[0];
    world.theirs[world.n_pairs++] = pair[1];
    return pair[0];
}

int __wrap_connect(int fd, const struct sockaddr *addr, socklen_t len)
{
    for (size_t i = 0; world.pairs && i < world.n_pairs; i++)
        if (world.ours[i] == fd && addr->sa_family != AF_UNIX)
            return 0;
    return __real_connect(fd, addr, len);
}

int __wrap_pthread_create(pthread_t *ret, const pthread_attr_t *attr, world_thread *run, void *arg)
{
    if (!world.begun)
        return __real_pthread_create(ret, attr, run, arg);
    world.thread = run;
    world.thread_arg = arg;
    *ret = pthread_self();
    return 0;
}

int __wrap_pthread_join(pthread_t thread, void **ret)
{
    if (!world.begun)
        return __real_pthread_join(thread, ret);
    world.thread(world.thread_arg);
    return 0;
}
