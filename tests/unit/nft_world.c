#include "nft_world.h"

#include "base/loop.h"

#include <poll.h>
#include <unistd.h>

#define REFUSED_WITHIN_MS 50

static int outside, sandbox;

void build_world(void)
{
    outside = netns_enter_new();
    sandbox = netns_enter_new();
    run("ip link add s0 type veth peer name o0 && ip link set o0 netns /proc/%d/fd/%d && ip link set s0 up && "
        "ip addr add 10.9.0.2/24 dev s0 && ip addr add 2001:db8:9::2/64 dev s0 nodad",
        getpid(), outside);
    netns_enter(outside);
    run("ip link set o0 up && ip addr add 10.9.0.1/24 dev o0 && ip addr add 2001:db8:9::1/64 dev o0 nodad && "
        "ip route add local 198.51.100.0/24 dev lo && ip route add local 203.0.113.0/24 dev lo && "
        "ip -6 route add local 2001:db8:51::/64 dev lo && ip -6 route add local 64:ff9b::/96 dev lo && "
        "ip -6 route add local 2002::/16 dev lo");
    netns_enter(sandbox);
    run("ip route add default via 10.9.0.1 && ip -6 route add default via 2001:db8:9::1");
}

static int bound(int type, const struct sock_addr *addr)
{
    int fd = socket(addr->sa.sa_family, type | SOCK_CLOEXEC, 0), one = 1;
    ck_assert_int_ge(fd, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    ck_assert_int_eq(bind(fd, &addr->sa, sock_addr_len(addr)), 0);
    if (type == SOCK_STREAM)
        ck_assert_int_eq(listen(fd, 16), 0);
    return fd;
}

struct service serve(const char *addr, uint16_t port)
{
    struct ip_addr literal = ip(addr);
    struct sock_addr local = sock_addr_make(&literal, port);
    return (struct service){bound(SOCK_STREAM, &local), bound(SOCK_DGRAM, &local)};
}

struct service serve_outside(uint16_t port)
{
    netns_enter(outside);
    struct service service = serve("::", port);
    netns_enter(sandbox);
    return service;
}

bool readable(int fd)
{
    return poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, ARRIVES_WITHIN_MS) == 1;
}

int dial(int type, const char *addr, uint16_t port, uint32_t mark)
{
    struct ip_addr literal = ip(addr);
    struct sock_addr peer = sock_addr_make(&literal, port);
    struct timeval limit = {.tv_sec = ARRIVES_WITHIN_MS / 1000};
    int fd = socket(literal.family, type | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    if (mark)
        ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)), 0);
    uint64_t start = clock_monotonic_ns();
    int error = connect(fd, &peer.sa, sock_addr_len(&peer)) ? errno : 0;
    if (!error && type == SOCK_DGRAM && send(fd, "x", 1, 0) != 1)
        error = errno;
    uint64_t ms = (clock_monotonic_ns() - start) / NS_PER_MS;
    if (!error)
        return fd;
    ck_assert_msg(ms < REFUSED_WITHIN_MS, "%s port %u was refused after %u ms", addr, port, (unsigned)ms);
    close(fd);
    return -error;
}

int reach(int type, const char *addr, uint16_t port, const struct service *service, uint32_t mark)
{
    int fd = dial(type, addr, port, mark);
    if (fd < 0)
        return -fd;
    bool tcp = type == SOCK_STREAM;
    int error = readable(tcp ? service->tcp : service->udp) ? 0 : ETIMEDOUT;
    char byte;
    if (!error && tcp)
        close(accept4(service->tcp, NULL, NULL, SOCK_CLOEXEC));
    else if (!error)
        ck_assert_int_eq(recv(service->udp, &byte, 1, 0), 1);
    close(fd);
    return error;
}

void expect_served(const char *client, const char *server)
{
    struct ip_addr from = ip(client), to = ip(server);
    struct sock_addr local = sock_addr_make(&from, 0), peer = sock_addr_make(&to, 8081);
    int listener = bound(SOCK_STREAM, &peer);
    netns_enter(outside);
    int fd = socket(from.family, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    setsockopt(fd, SOL_IPV6, IPV6_FREEBIND, &one, sizeof(one));
    ck_assert_int_eq(bind(fd, &local.sa, sock_addr_len(&local)), 0);
    ck_assert_int_eq(connect(fd, &peer.sa, sock_addr_len(&peer)), 0);
    netns_enter(sandbox);
    int accepted = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    char byte;
    ck_assert_int_eq(send(fd, "x", 1, 0), 1);
    ck_assert(readable(accepted));
    ck_assert_int_eq(recv(accepted, &byte, 1, 0), 1);
    ck_assert_int_eq(send(accepted, "y", 1, 0), 1);
    ck_assert(readable(fd));
    ck_assert_int_eq(recv(fd, &byte, 1, 0), 1);
    close(fd);
    close(accepted);
    close(listener);
}
