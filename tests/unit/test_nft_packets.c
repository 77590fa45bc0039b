/* What the rules do to real packets: a sandbox (10.9.0.2, 2001:db8:9::2) with a veth pair to an outside that owns
 * 198.51.100.0/24, 203.0.113.0/24 and 2001:db8:51::/64. Every test has namespaces of its own. */
#include "base/loop.h"
#include "nft_fixture.h"
#include "runner.h"

#include <errno.h>
#include <netinet/icmp6.h>
#include <netinet/ip.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#define NAME "\1a\7example"
#define REFUSED_WITHIN_MS 50
#define ARRIVES_WITHIN_MS 2000

/* A TCP and a UDP socket on one port of all addresses. */
struct service {
    int tcp, udp;
};

static int outside, sandbox;
static const struct nft_settings plain = {.filter = true, .dns_port = DNS_PORT, .mark = MARK, .max_addresses = 1000};
static const struct nft_policy deny_all = {0};

static void build_world(void)
{
    outside = netns_enter_new();
    sandbox = netns_enter_new();
    run("ip link add s0 type veth peer name o0 && ip link set o0 netns /proc/%d/fd/%d && ip link set s0 up && "
        "ip addr add 10.9.0.2/24 dev s0 && ip addr add 2001:db8:9::2/64 dev s0 nodad",
        getpid(), outside);
    netns_enter(outside);
    run("ip link set o0 up && ip addr add 10.9.0.1/24 dev o0 && ip addr add 2001:db8:9::1/64 dev o0 nodad && "
        "ip route add local 198.51.100.0/24 dev lo && ip route add local 203.0.113.0/24 dev lo && "
        "ip -6 route add local 2001:db8:51::/64 dev lo");
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

/* In the namespace where the caller is. */
static struct service serve(const char *addr, uint16_t port)
{
    struct ip_addr literal = ip(addr);
    struct sock_addr local = sock_addr_make(&literal, port);
    return (struct service){bound(SOCK_STREAM, &local), bound(SOCK_DGRAM, &local)};
}

static struct service serve_outside(uint16_t port)
{
    netns_enter(outside);
    struct service service = serve("::", port);
    netns_enter(sandbox);
    return service;
}

static bool readable(int fd)
{
    return poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, ARRIVES_WITHIN_MS) == 1;
}

/* Connects, for UDP sends as well; the descriptor or -errno. */
static int dial(int type, const char *addr, uint16_t port, uint32_t mark)
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

/* 0 when a connection or datagram gets to the service, else the error that the application sees. */
static int reach(int type, const char *addr, uint16_t port, const struct service *service, uint32_t mark)
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

static bool never(void *ctx, const uint8_t *name, size_t len)
{
    return false;
}

START_TEST(default_deny)
{
    struct service web = serve_outside(8080);
    struct nft_policy policy = {.deny = ranges("198.51.100.128/25", "2001:db8:51:0:1::/80", NULL),
                                .allow = ranges("198.51.100.0/24", "2001:db8:51::/64", NULL)};
    struct nft *nft = installed(&plain, &policy);
    expect_passes("198.51.100.1", 8080, &web, 0);
    expect_passes("2001:db8:51::1", 8080, &web, 0);
    expect_refused("198.51.100.129", 8080, &web, 0);
    expect_refused("2001:db8:51:0:1::1", 8080, &web, 0);
    expect_refused("203.0.113.1", 8080, &web, 0);
    expect_refused("2001:db8:9::1", 8080, &web, 0);
    nft_free(nft);
}
END_TEST

START_TEST(default_allow)
{
    struct service web = serve_outside(8080);
    struct nft_policy policy = {.default_allow = true, .deny = ranges("203.0.113.0/24", "2001:db8:51::/64", NULL)};
    struct nft *nft = installed(&plain, &policy);
    expect_passes("198.51.100.1", 8080, &web, 0);
    expect_passes("2001:db8:9::1", 8080, &web, 0);
    expect_refused("203.0.113.1", 8080, &web, 0);
    expect_refused("2001:db8:51::1", 8080, &web, 0);
    nft_free(nft);
}
END_TEST

START_TEST(always_layers)
{
    struct service web = serve_outside(8080);
    struct nft_policy policy = {.always_deny = ranges("198.51.100.1", NULL),
                                .always_allow = ranges("198.51.100.0/30", NULL),
                                .deny = ranges("198.51.100.0/24", NULL),
                                .allow = ranges("198.51.100.1", "198.51.100.9", NULL)};
    struct nft *nft = installed(&plain, &policy);
    expect_refused("198.51.100.1", 8080, &web, 0);
    expect_passes("198.51.100.2", 8080, &web, 0);
    expect_refused("198.51.100.9", 8080, &web, 0);
    nft_free(nft);
}
END_TEST

START_TEST(learned_addresses)
{
    struct service web = serve_outside(8080);
    struct nft *nft = installed(&plain, &deny_all);
    expect_refused("198.51.100.1", 8080, &web, 0);
    ck_assert_int_eq(learn(nft, "198.51.100.1", NAME, 30), 0);
    ck_assert_int_eq(learn(nft, "2001:db8:51::1", NAME, 30), 0);
    expect_passes("198.51.100.1", 8080, &web, 0);
    expect_passes("2001:db8:51::1", 8080, &web, 0);
    ck_assert_int_eq(nft_apply(nft, &deny_all, never, NULL, NULL), 0);
    expect_refused("198.51.100.1", 8080, &web, 0);
    expect_refused("2001:db8:51::1", 8080, &web, 0);
    ck_assert_int_eq(learn(nft, "198.51.100.1", NAME, 30), 0);
    expect_passes("198.51.100.1", 8080, &web, 0);
    nft_free(nft);
}
END_TEST

/* Sends until the connection reports an error, and returns it. */
static int error_of_flow(int fd)
{
    for (int i = 0; i < ARRIVES_WITHIN_MS / 10; i++) {
        if (send(fd, "x", 1, MSG_NOSIGNAL) < 0)
            return errno;
        poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, 10);
    }
    return 0;
}

START_TEST(open_flows_end_with_permission)
{
    struct service web = serve_outside(8080);
    struct nft_policy policy = {.allow = ranges("203.0.113.1", NULL)};
    struct nft *nft = installed(&plain, &policy);
    ck_assert_int_eq(learn(nft, "198.51.100.1", NAME, 30), 0);
    int learned = dial(SOCK_STREAM, "198.51.100.1", 8080, 0), by_address = dial(SOCK_STREAM, "203.0.113.1", 8080, 0);
    ck_assert_int_ge(learned, 0);
    ck_assert_int_ge(by_address, 0);
    ck_assert(readable(web.tcp));

    struct nft_policy denied = {.deny = ranges("203.0.113.1", NULL)};
    ck_assert_int_eq(nft_apply(nft, &denied, never, NULL, NULL), 0);
    ck_assert_int_eq(error_of_flow(learned), ECONNRESET);
    ck_assert_int_eq(error_of_flow(by_address), ECONNRESET);
    nft_free(nft);
}
END_TEST

/* A client with this address outside talks to a server in the sandbox. */
static void expect_served(const char *client, const char *server)
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

START_TEST(clients_from_outside_are_served)
{
    struct nft_policy policy = {.deny = ranges("0.0.0.0/0", "::/0", NULL),
                                .always_deny = ranges("203.0.113.0/24", "2001:db8:51::/64", NULL)};
    struct nft *nft = installed(&plain, &policy);
    expect_served("203.0.113.5", "10.9.0.2");
    run("ip -6 neigh flush all"); /* neighbours are found although ::/0 is denied */
    expect_served("2001:db8:51::5", "2001:db8:9::2");
    nft_free(nft);
}
END_TEST

START_TEST(dns_is_redirected)
{
    struct service theirs = serve_outside(53);
    struct service ours = serve("127.0.0.1", DNS_PORT), ours_v6 = serve("::1", DNS_PORT);
    struct ip_addr exempt[] = {ip("198.51.100.53"), ip("2001:db8:51::53")};
    struct nft_settings settings = plain;
    settings.exempt = exempt;
    settings.n_exempt = 2;
    struct nft_policy policy = {.allow = ranges("0.0.0.0/0", "::/0", NULL)};
    for (int filter = 0; filter < 2; filter++) {
        settings.filter = filter;
        struct nft *nft = installed(&settings, &policy);
        expect_passes("198.51.100.1", 53, &ours, 0);
        expect_passes("2001:db8:51::1", 53, &ours_v6, 0);
        expect_passes("127.0.0.53", 53, &ours, 0);
        expect_passes("198.51.100.53", 53, &theirs, 0);
        expect_passes("2001:db8:51::53", 53, &theirs, 0);
        expect_passes("198.51.100.1", 53, &theirs, MARK);
        expect_passes("2001:db8:51::1", 53, &theirs, MARK);
        nft_free(nft);
    }
}
END_TEST

START_TEST(a_flow_older_than_the_redirect_does_not_bypass_it)
{
    struct service theirs = serve_outside(53);
    struct sock_addr client;
    socklen_t len = sizeof(client);
    char byte;
    run("nft 'table inet t { chain c { type filter hook output priority 0\nct state new accept\n}\n}'"); /* tracks flows
                                                                                                          */
    int fd = dial(SOCK_DGRAM, "10.9.0.1", 53, 0);
    ck_assert_int_ge(fd, 0);
    ck_assert(readable(theirs.udp));
    ck_assert_int_eq(recvfrom(theirs.udp, &byte, 1, 0, &client.sa, &len), 1);
    ck_assert_int_eq(sendto(theirs.udp, &byte, 1, 0, &client.sa, len), 1);
    ck_assert(readable(fd));
    struct nft_policy policy = {.default_allow = true};
    struct nft *nft = installed(&plain, &policy);
    ck_assert_int_eq(send(fd, "x", 1, 0), -1);
    ck_assert_int_eq(errno, EPERM);
    nft_free(nft);
}
END_TEST

START_TEST(the_mark_opens_only_its_ports)
{
    struct service dns = serve_outside(53), upstream = serve_outside(5300), web = serve_outside(8080);
    struct sock_addr upstreams[2];
    sock_addr_parse("198.51.100.53:5300", 53, &upstreams[0]);
    sock_addr_parse("203.0.113.53:5301", 53, &upstreams[1]);
    struct ip_addr exempt[] = {ip("203.0.113.53")};
    struct nft_settings settings = plain;
    settings.upstreams = upstreams;
    settings.n_upstreams = 2;
    settings.exempt = exempt;
    settings.n_exempt = 1;
    struct service exempt_upstream = serve_outside(5301);
    struct nft *nft = installed(&settings, &deny_all);
    expect_passes("198.51.100.1", 53, &dns, MARK);
    expect_passes("203.0.113.9", 5300, &upstream, MARK); /* a load balancer may have changed the address */
    expect_refused("198.51.100.53", 8080, &web, MARK);
    expect_refused("198.51.100.53", 5300, &upstream, 0);
    expect_refused("198.51.100.53", 5300, &upstream, MARK + 1);
    expect_passes("203.0.113.53", 5301, &exempt_upstream, 0);
    expect_refused("203.0.113.53", 8080, &web, 0);
    nft_free(nft);
}
END_TEST

START_TEST(encrypted_dns)
{
    struct service dot = serve_outside(853), https = serve_outside(443);
    struct nft_settings settings = plain;
    struct nft_policy policy = {.default_allow = true, .always_allow = ranges("198.51.100.0/24", "::/0", NULL)};
    struct nft *nft = installed(&settings, &policy);
    expect_refused("198.51.100.1", 853, &dot, 0);
    expect_refused("2001:db8:51::1", 853, &dot, 0);
    expect_passes("198.51.100.1", 443, &https, 0);
    nft_free(nft);

    settings.block_doh_443 = true;
    nft = installed(&settings, &policy);
    expect_refused("198.51.100.1", 443, &https, 0);
    expect_refused("2001:db8:51::1", 443, &https, 0);
    nft_free(nft);

    settings.doh_blocklist = ranges("198.51.100.1", "2001:db8:51::1", NULL);
    nft = installed(&settings, &policy);
    expect_refused("198.51.100.1", 443, &https, 0);
    expect_refused("2001:db8:51::1", 443, &https, 0);
    expect_passes("198.51.100.2", 443, &https, 0);
    expect_passes("2001:db8:51::2", 443, &https, 0);
    nft_free(nft);
}
END_TEST

START_TEST(loopback)
{
    struct sock_addr upstreams[2];
    sock_addr_parse("127.0.0.1:5353", 53, &upstreams[0]);
    sock_addr_parse("[::1]:5353", 53, &upstreams[1]);
    struct nft_settings settings = plain;
    settings.upstreams = upstreams;
    settings.n_upstreams = 2;
    struct service resolver = serve("::", 5353), web = serve("::", 8080);
    struct nft *nft = installed(&settings, &deny_all);
    expect_passes("127.0.0.1", 8080, &web, 0);
    expect_passes("::1", 8080, &web, 0);
    expect_passes("10.9.0.2", 8080, &web, 0);
    expect_passes("2001:db8:9::2", 8080, &web, 0);
    expect_refused("127.0.0.1", 5353, &resolver, 0);
    expect_refused("::1", 5353, &resolver, 0);
    expect_passes("127.0.0.1", 5353, &resolver, MARK);
    expect_passes("::1", 5353, &resolver, MARK);
    nft_free(nft);
}
END_TEST

/* As Docker makes it: port 53 of 127.0.0.11 is redirected at -100 to a high port there. */
START_TEST(docker_resolver)
{
    struct service docker = serve("127.0.0.11", 40123), ours = serve("127.0.0.1", DNS_PORT);
    run("nft 'table ip docker { chain output { type nat hook output priority -100\n"
        "ip daddr 127.0.0.11 tcp dport 53 dnat to 127.0.0.11:40123\n"
        "ip daddr 127.0.0.11 udp dport 53 dnat to 127.0.0.11:40123\n}\n}'");
    struct sock_addr upstream;
    sock_addr_parse("127.0.0.11", 53, &upstream);
    struct nft_settings settings = plain;
    settings.upstreams = &upstream;
    settings.n_upstreams = 1;
    struct nft *nft = installed(&settings, &deny_all);
    expect_passes("127.0.0.11", 53, &ours, 0);
    expect_passes("127.0.0.11", 53, &docker, MARK);
    expect_refused("127.0.0.11", 40123, &docker, 0);
    nft_free(nft);
}
END_TEST

/* Sends a bare IPv4 header with these addresses; 0 or the error. */
static int send_raw(const char *from, const char *to)
{
    struct ip_addr source = ip(from), destination = ip(to);
    struct sock_addr peer = sock_addr_make(&destination, 0);
    struct iphdr header = {.version = 4, .ihl = 5, .ttl = 64, .protocol = 253 /* RFC 3692: for experiments */};
    memcpy(&header.saddr, source.bytes, 4);
    memcpy(&header.daddr, destination.bytes, 4);
    int fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
    int error = sendto(fd, &header, sizeof(header), 0, &peer.sa, sock_addr_len(&peer)) < 0 ? errno : 0;
    close(fd);
    return error;
}

START_TEST(forged_sources)
{
    struct nft_policy policy = {.allow = ranges("198.51.100.0/24", NULL)};
    struct nft *nft = installed(&plain, &policy);
    ck_assert_int_eq(send_raw("10.9.0.2", "198.51.100.1"), 0);
    ck_assert_int_eq(send_raw("203.0.113.1", "198.51.100.1"), EPERM);
    ck_assert_int_eq(send_raw("203.0.113.1", "10.9.0.2"), EPERM);
    ck_assert_int_eq(send_raw("203.0.113.1", "127.0.0.1"), EPERM);
    nft_free(nft);
}
END_TEST

static int send_icmpv6(uint8_t type, const char *to)
{
    struct ip_addr destination = ip(to);
    struct sock_addr peer = sock_addr_make(&destination, 0);
    uint8_t message[24] = {type};
    int fd = socket(AF_INET6, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMPV6);
    int error = sendto(fd, message, sizeof(message), 0, &peer.sa, sock_addr_len(&peer)) < 0 ? errno : 0;
    close(fd);
    return error;
}

START_TEST(neighbour_discovery_is_the_kernels)
{
    struct nft_policy policy = {.allow = ranges("2001:db8:51::1", NULL)};
    struct nft *nft = installed(&plain, &policy);
    ck_assert_int_eq(send_icmpv6(ND_NEIGHBOR_SOLICIT, "2001:db8:51::1"), 0);
    ck_assert_int_eq(send_icmpv6(ND_NEIGHBOR_SOLICIT, "2001:db8:51::2"), EPERM);
    ck_assert_int_eq(send_icmpv6(ICMP6_PACKET_TOO_BIG, "2001:db8:51::2"), EPERM);
    nft_free(nft);
}
END_TEST

START_TEST(closed)
{
    struct service web = serve_outside(8080), dns = serve_outside(53), here = serve("::", 8080);
    struct service docker = serve("127.0.0.11", 40123);
    ck_assert_int_eq(nft_close_if_absent(NULL), 0);
    expect_refused("198.51.100.1", 8080, &web, 0);
    expect_refused("2001:db8:51::1", 8080, &web, 0);
    expect_refused("198.51.100.1", 53, &dns, 0);
    expect_refused("127.0.0.11", 40123, &docker, 0);
    expect_passes("127.0.0.1", 8080, &here, 0);
    expect_passes("::1", 8080, &here, 0);
    expect_served("203.0.113.5", "10.9.0.2");
    expect_served("2001:db8:51::5", "2001:db8:9::2");
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("nft_packets");
    TCase *tests = tcase_create("packets");
    tcase_add_checked_fixture(tests, build_world, NULL);
    tcase_set_timeout(tests, 30);
    tcase_add_test(tests, default_deny);
    tcase_add_test(tests, default_allow);
    tcase_add_test(tests, always_layers);
    tcase_add_test(tests, learned_addresses);
    tcase_add_test(tests, open_flows_end_with_permission);
    tcase_add_test(tests, clients_from_outside_are_served);
    tcase_add_test(tests, dns_is_redirected);
    tcase_add_test(tests, a_flow_older_than_the_redirect_does_not_bypass_it);
    tcase_add_test(tests, the_mark_opens_only_its_ports);
    tcase_add_test(tests, encrypted_dns);
    tcase_add_test(tests, loopback);
    tcase_add_test(tests, docker_resolver);
    tcase_add_test(tests, forged_sources);
    tcase_add_test(tests, neighbour_discovery_is_the_kernels);
    tcase_add_test(tests, closed);
    suite_add_tcase(suite, tests);
    return suite;
}
