#include "dns/own_addresses.h"

#include <errno.h>
#include <ifaddrs.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define AGAIN_NS NS_PER_S

struct own_addresses {
    struct loop *loop;
    struct log *log;
    struct loop_source bell;
    struct loop_timer again; /* after a reading that failed */
    struct ip_addr *list;    /* sorted */
    size_t n;
    unsigned version;
    bool stale; /* the list is older than the latest change */
};

static int compare(const void *a, const void *b)
{
    return ip_compare(a, b);
}

static bool same_list(const struct own_addresses *own, const struct ip_addr *list, size_t n)
{
    for (size_t i = 0; i < n && n == own->n; i++)
        if (!ip_equal(&own->list[i], &list[i]))
            return false;
    return n == own->n;
}

/* The list anew. The kernel answers from memory: this takes microseconds per interface, and happens rarely. */
static int read_all(struct own_addresses *own)
{
    struct ifaddrs *first;
    if (getifaddrs(&first))
        return -errno;
    size_t room = 0, n = 0;
    for (const struct ifaddrs *at = first; at; at = at->ifa_next)
        room++;
    struct ip_addr *list = calloc(room ? room : 1, sizeof(*list));
    for (const struct ifaddrs *at = first; list && at; at = at->ifa_next) {
        const struct sockaddr *sa = at->ifa_addr;
        if (sa && sa->sa_family == AF_INET)
            list[n++] = ip_from_v4(&((const struct sockaddr_in *)(const void *)sa)->sin_addr);
        else if (sa && sa->sa_family == AF_INET6)
            list[n++] = ip_from_v6(&((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr);
    }
    freeifaddrs(first);
    if (!list)
        return -ENOMEM;
    qsort(list, n, sizeof(*list), compare);
    own->version += !same_list(own, list, n); /* lifetimes are news to the kernel, and none to us */
    free(own->list);
    own->list = list;
    own->n = n;
    return 0;
}

/* The kernel does not ring again for what could not be read: until it can be, it is tried every second, and said once.
 */
static void read_anew(struct own_addresses *own)
{
    int error = read_all(own);
    bool told = own->stale;
    own->stale = error;
    if (!error)
        return;
    loop_timer_set(own->loop, &own->again, loop_now(own->loop) + AGAIN_NS);
    if (!told)
        log_printf(own->log, LOG_ERROR, "cannot read the addresses of the network interfaces: %s",
                   strerrordesc_np(-error));
}

static void again_fired(struct loop_timer *timer)
{
    read_anew(timer->owner);
}

/* What the messages say does not matter, nor whether some were lost: something changed. */
static void rang(struct loop_source *source, uint32_t events)
{
    struct own_addresses *own = source->owner;
    uint8_t scrap[8192];
    ssize_t n;
    do
        n = recv(source->fd, scrap, sizeof(scrap), MSG_DONTWAIT);
    while (n >= 0 || errno == ENOBUFS || errno == EINTR);
    loop_timer_cancel(own->loop, &own->again);
    read_anew(own);
}

int own_addresses_new(struct loop *loop, struct log *log, struct own_addresses **ret)
{
    struct own_addresses *own = calloc(1, sizeof(*own));
    if (!own)
        return -ENOMEM;
    own->loop = loop;
    own->log = log;
    own->again = (struct loop_timer){.fire = again_fired, .owner = own};
    own->bell = (struct loop_source){
        .fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE), .ready = rang, .owner = own};
    struct sockaddr_nl groups = {.nl_family = AF_NETLINK, .nl_groups = RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR};
    int error = 0;
    if (own->bell.fd < 0 || bind(own->bell.fd, (const struct sockaddr *)(const void *)&groups, sizeof(groups)))
        error = -errno;
    if (!error)
        error = read_all(own); /* after the bell is hung: no change is missed */
    if (!error)
        error = loop_add(loop, &own->bell, EPOLLIN);
    if (error) {
        if (own->bell.fd >= 0)
            close(own->bell.fd);
        free(own->list);
        free(own);
        return error;
    }
    *ret = own;
    return 0;
}

void own_addresses_free(struct own_addresses *own)
{
    if (!own)
        return;
    loop_timer_cancel(own->loop, &own->again);
    loop_remove(own->loop, &own->bell);
    close(own->bell.fd);
    free(own->list);
    free(own);
}

unsigned own_addresses_version(const struct own_addresses *own)
{
    return own->version;
}

bool own_addresses_have(const struct own_addresses *own, const struct ip_addr *addr)
{
    return bsearch(addr, own->list, own->n, sizeof(*own->list), compare);
}
