/* What the rules do to real packets. */
#include "nft_plain.h"
#include "nft_world.h"
#include "runner.h"

#include <arpa/inet.h>
#include <netinet/icmp6.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

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

/* By whatever translates or tunnels behind the sandbox. */
START_TEST(ipv6_addresses_that_lead_to_denied_ipv4_ones)
{
    struct service web = serve_outside(8080);
    struct nft_policy policy = {.default_allow = true,
                                .always_deny = ranges("198.51.100.0/24", NULL),
                                .deny = ranges("203.0.113.0/25", NULL),
                                .allow = ranges("64:ff9b::/96", "2002::/16", NULL)};
    struct nft *nft = installed(&plain, &policy);
    expect_refused("64:ff9b::198.51.100.1", 8080, &web, 0);
    expect_refused("64:ff9b::203.0.113.1", 8080, &web, 0);
    expect_passes("64:ff9b::203.0.113.128", 8080, &web, 0);
    expect_refused("2002:c633:6401::1", 8080, &web, 0);
    expect_refused("2002:cb00:7101:5::1", 8080, &web, 0);
    expect_passes("2002:cb00:7180:5::1", 8080, &web, 0);
    expect_passes("2001:db8:51::198.51.100.1", 8080, &web, 0);
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
    ck_assert_int_eq(learn(nft, "198.51.100.1", A, 30), 0);
    ck_assert_int_eq(learn(nft, "2001:db8:51::1", A, 30), 0);
    expect_passes("198.51.100.1", 8080, &web, 0);
    expect_passes("2001:db8:51::1", 8080, &web, 0);
    ck_assert_int_eq(nft_apply(nft, &deny_all, nothing, NULL, NULL), 0);
    expect_refused("198.51.100.1", 8080, &web, 0);
    expect_refused("2001:db8:51::1", 8080, &web, 0);
    ck_assert_int_eq(learn(nft, "198.51.100.1", A, 30), 0);
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
    ck_assert_int_eq(learn(nft, "198.51.100.1", A, 30), 0);
    int learned = dial(SOCK_STREAM, "198.51.100.1", 8080, 0), by_address = dial(SOCK_STREAM, "203.0.113.1", 8080, 0);
    ck_assert_int_ge(learned, 0);
    ck_assert_int_ge(by_address, 0);
    ck_assert(readable(web.tcp));

    struct nft_policy denied = {.deny = ranges("203.0.113.1", NULL)};
    ck_assert_int_eq(nft_apply(nft, &denied, nothing, NULL, NULL), 0);
    ck_assert_int_eq(error_of_flow(learned), ECONNRESET);
    ck_assert_int_eq(error_of_flow(by_address), ECONNRESET);
    nft_free(nft);
}
END_TEST

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

/* Through `hop`, which is the packet's address on the first leg; 0 or the error. No capability is needed for it. */
static int send_by_way_of(uint8_t option, const char *hop, const char *to)
{
    struct ip_addr first = ip(hop), destination = ip(to);
    struct sock_addr peer = sock_addr_make(&destination, 9);
    uint8_t route[8] = {option, 7, 4, [7] = IPOPT_END};
    memcpy(route + 3, first.bytes, 4);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(setsockopt(fd, IPPROTO_IP, IP_OPTIONS, route, sizeof(route)), 0);
    int error = sendto(fd, "x", 1, 0, &peer.sa, sock_addr_len(&peer)) < 0 ? errno : 0;
    close(fd);
    return error;
}

/* An IPv6 packet with a header of this kind, and nothing behind it. */
static int send_with_header(uint8_t kind, const char *to)
{
    struct ip_addr source = ip("2001:db8:9::2"), destination = ip(to);
    struct sock_addr peer = sock_addr_make(&destination, 0);
    struct {
        struct ip6_hdr head;
        uint8_t next[24];
    } packet = {.head.ip6_vfc = 6 << 4, .head.ip6_nxt = kind, .head.ip6_hlim = 64, .next = {IPPROTO_NONE, 2}};
    packet.head.ip6_plen = htons(sizeof(packet.next));
    packet.next[kind == IPPROTO_ROUTING ? 3 : 2] = 1; /* a segment is left; padding of 20 bytes */
    packet.next[3] += kind == IPPROTO_ROUTING ? 0 : 20;
    memcpy(&packet.head.ip6_src, source.bytes, 16);
    memcpy(&packet.head.ip6_dst, destination.bytes, 16);
    int fd = socket(AF_INET6, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
    int error = sendto(fd, &packet, sizeof(packet), 0, &peer.sa, sock_addr_len(&peer)) < 0 ? errno : 0;
    close(fd);
    return error;
}

START_TEST(routes_that_the_sender_chooses)
{
    struct nft_policy policy = {.allow = ranges("10.9.0.1", "198.51.100.1", "2001:db8:51::1", NULL)};
    ck_assert_int_eq(send_by_way_of(IPOPT_LSRR, "198.51.100.1", "203.0.113.1"), 0);
    struct nft *nft = installed(&plain, &policy);
    ck_assert_int_eq(send_by_way_of(IPOPT_RR, "0.0.0.0", "198.51.100.1"), EPERM);
    ck_assert_int_eq(send_by_way_of(IPOPT_LSRR, "198.51.100.1", "203.0.113.1"), EPERM);
    ck_assert_int_eq(send_by_way_of(IPOPT_SSRR, "10.9.0.1", "198.51.100.1"), EPERM);
    ck_assert_int_eq(send_with_header(IPPROTO_DSTOPTS, "2001:db8:51::1"), 0);
    ck_assert_int_eq(send_with_header(IPPROTO_ROUTING, "2001:db8:51::1"), EPERM);
    nft_free(nft);
}
END_TEST

/* Through 198.51.100.1 with options that the kernel would not make, up to 12 octets of them; 0 or the error. */
static int send_options(uint8_t first_octet, const uint8_t *options, size_t size)
{
    struct ip_addr source = ip("10.9.0.2"), hop = ip("198.51.100.1");
    struct sock_addr peer = sock_addr_make(&hop, 0);
    struct {
        struct iphdr header;
        uint8_t options[12];
    } packet = {.header = {.ttl = 64, .protocol = 253 /* RFC 3692: for experiments */}};
    memcpy(&packet.header, &first_octet, 1);
    memcpy(&packet.header.saddr, source.bytes, 4);
    memcpy(&packet.header.daddr, hop.bytes, 4);
    if (size)
        memcpy(packet.options, options, size);
    int fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
    int error = sendto(fd, &packet, sizeof(packet.header) + size, 0, &peer.sa, sock_addr_len(&peer)) < 0 ? errno : 0;
    close(fd);
    return error;
}

START_TEST(malformed_options_hide_no_route)
{
    static const uint8_t behind[] = {IPOPT_LSRR, 7, 8, 203, 0, 113, 1, IPOPT_END};
    static const uint8_t beside[] = {IPOPT_LSRR, 7, 4, 203, 0, 113, 1, IPOPT_RR, 3, 1, IPOPT_END, IPOPT_END};
    struct nft_policy policy = {.default_allow = true};
    struct nft *nft = installed(&plain, &policy);
    ck_assert_int_eq(send_options(0x45, NULL, 0), 0);
    ck_assert_int_eq(send_options(0x47, behind, sizeof(behind)), EPERM);
    ck_assert_int_eq(send_options(0x48, beside, sizeof(beside)), EPERM);
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
    ck_assert_int_eq(send_icmpv6(ND_NEIGHBOR_SOLICIT, "2001:db8:51::1"), EPERM);
    ck_assert_int_eq(send_icmpv6(ND_NEIGHBOR_SOLICIT, "2001:db8:51::2"), EPERM);
    ck_assert_int_eq(send_icmpv6(ICMP6_PACKET_TOO_BIG, "2001:db8:51::2"), EPERM);
    nft_free(nft);
}
END_TEST

START_TEST(closed)
{
    struct service web = serve_outside(8080), dns = serve_outside(53), here = serve("::", 8080);
    struct service docker = serve("127.0.0.11", 40123);
    ck_assert_int_eq(nft_close_unless_guarded(false, NULL), 0);
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
    tcase_add_test(tests, ipv6_addresses_that_lead_to_denied_ipv4_ones);
    tcase_add_test(tests, always_layers);
    tcase_add_test(tests, learned_addresses);
    tcase_add_test(tests, open_flows_end_with_permission);
    tcase_add_test(tests, clients_from_outside_are_served);
    tcase_add_test(tests, forged_sources);
    tcase_add_test(tests, routes_that_the_sender_chooses);
    tcase_add_test(tests, malformed_options_hide_no_route);
    tcase_add_test(tests, neighbour_discovery_is_the_kernels);
    tcase_add_test(tests, closed);
    suite_add_tcase(suite, tests);
    return suite;
}
