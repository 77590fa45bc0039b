/* Preloaded: what seldom fails does.
 *
 *   FAILING_THREAD=N   the N-th thread cannot be started
 *   FAILING_THREADS=FILE  none can while its first byte is not 0
 *   FAILING_SENDS=FILE as many of the next transactions as its first byte says find no memory */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define TRANSACTION 500 /* bytes; requests for a look are shorter */

static volatile unsigned char *sends_left, *no_threads;

static volatile unsigned char *map(const char *variable)
{
    if (!getenv(variable))
        return NULL;
    int fd = open(getenv(variable), O_RDWR);
    void *memory = mmap(NULL, 1, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    return memory;
}

__attribute__((constructor)) static void begin(void)
{
    sends_left = map("FAILING_SENDS");
    no_threads = map("FAILING_THREADS");
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *arg)
{
    int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *) = dlsym(RTLD_NEXT, "pthread_create");
    static int started;
    if (getenv("FAILING_THREAD") && ++started == atoi(getenv("FAILING_THREAD")))
        return EAGAIN;
    if (no_threads && *no_threads)
        return EAGAIN;
    return real(thread, attr, run, arg);
}

ssize_t mnl_socket_sendto(const struct mnl_socket *socket, const void *data, size_t size)
{
    ssize_t (*real)(const struct mnl_socket *, const void *, size_t) = dlsym(RTLD_NEXT, "mnl_socket_sendto");
    if (!sends_left || !*sends_left || size < TRANSACTION)
        return real(socket, data, size);
    --*sends_left;
    errno = ENOBUFS;
    return -1;
}
