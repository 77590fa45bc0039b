/* A sandbox (10.9.0.2, 2001:db8:9::2) with a veth pair to an outside that owns 198.51.100.0/24, 203.0.113.0/24 and
 * 2001:db8:51::/64. The test runs in the sandbox. */
#ifndef TESTS_UNIT_NFT_WORLD_H
#define TESTS_UNIT_NFT_WORLD_H

#include "nft_fixture.h"

#include <check.h>
#include <errno.h>

#define ARRIVES_WITHIN_MS 2000

/* A TCP and a UDP socket on one port. */
struct service {
    int tcp, udp;
};

/* A checked fixture. */
void build_world(void);
/* In the sandbox; and outside, on all addresses. */
struct service serve(const char *addr, uint16_t port);
struct service serve_outside(uint16_t port);
bool readable(int fd);
/* Connects, for UDP sends as well: the descriptor or -errno. Fails the test when a refusal takes 50 ms. */
int dial(int type, const char *addr, uint16_t port, uint32_t mark);
/* 0 when a connection or datagram gets to the service, else the error that the application sees. */
int reach(int type, const char *addr, uint16_t port, const struct service *service, uint32_t mark);
/* A client with this address outside talks to a server in the sandbox, both ways, or the test fails. */
void expect_served(const char *client, const char *server);

#define expect_passes(addr, port, service, mark)                                                                       \
    do {                                                                                                               \
        ck_assert_int_eq(reach(SOCK_STREAM, addr, port, service, mark), 0);                                            \
        ck_assert_int_eq(reach(SOCK_DGRAM, addr, port, service, mark), 0);                                             \
    } while (0)

/* TCP sees a reset, UDP that the packet may not be sent. */
#define expect_refused(addr, port, service, mark)                                                                      \
    do {                                                                                                               \
        ck_assert_int_eq(reach(SOCK_STREAM, addr, port, service, mark), ECONNREFUSED);                                 \
        ck_assert_int_eq(reach(SOCK_DGRAM, addr, port, service, mark), EPERM);                                         \
    } while (0)

#endif
