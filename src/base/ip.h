/* IP addresses, prefixes, ranges and socket addresses as values. */
#ifndef BASE_IP_H
#define BASE_IP_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/* `family` is AF_INET (4 bytes used, the rest zero) or AF_INET6. Two equal addresses are equal in every byte. */
struct ip_addr {
    uint8_t family;
    uint8_t bytes[16];
};

/* Host bits are zero. */
struct ip_prefix {
    struct ip_addr addr;
    uint8_t bits;
};

/* Both ends belong to the range and have the same family. */
struct ip_range {
    struct ip_addr first, last;
};

/* Disjoint ranges in ascending order, never adjacent; the arrays belong to whoever made them. */
struct ip_ranges {
    const struct ip_range *v4, *v6;
    size_t n_v4, n_v6;
};

struct sock_addr {
    union {
        struct sockaddr sa;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
    };
};

#define IP_TEXT_MAX 46
#define SOCK_ADDR_TEXT_MAX 56
#define LOOPBACK_INDEX 1 /* of the device lo, in every network namespace (the kernel's LOOPBACK_IFINDEX) */

static inline size_t ip_size(uint8_t family)
{
    return family == AF_INET ? 4 : 16;
}

struct ip_addr ip_from_v4(const void *four_bytes);
struct ip_addr ip_from_v6(const void *sixteen_bytes);
/* An address that a socket of IPv6 tells of: an IPv4-mapped one is the IPv4 address that packets carry. */
struct ip_addr ip_from_v6_socket(const void *sixteen_bytes);
bool ip_equal(const struct ip_addr *a, const struct ip_addr *b);
/* <0, 0, >0; IPv4 sorts before IPv6. */
int ip_compare(const struct ip_addr *a, const struct ip_addr *b);
/* A literal without zone, brackets or surrounding space. 0 or -EINVAL. */
int ip_parse(const char *text, struct ip_addr *ret);
/* `ADDR` or `ADDR/BITS`; host bits are masked away. 0 or -EINVAL. */
int ip_prefix_parse(const char *text, struct ip_prefix *ret);
bool ip_prefix_has(const struct ip_prefix *prefix, const struct ip_addr *addr);
struct ip_range ip_prefix_range(const struct ip_prefix *prefix);
/* Writes the text (RFC 5952 for IPv6) and returns `out`. */
const char *ip_format(const struct ip_addr *addr, char out[IP_TEXT_MAX]);
/* Forms of an IPv6 address that lead to an IPv4 address: behind `prefix`, `at` octets from the beginning. NAT64 (RFC
 * 6052 section 2.1, the well-known prefix) and 6to4 (RFC 3056 section 2). */
struct ip_embedding {
    uint8_t prefix[12], prefix_size, at;
};
#define IP_EMBEDDINGS 2
extern const struct ip_embedding ip_embeddings[IP_EMBEDDINGS];
/* The IPv4 address that such an address leads to; false for all others. */
bool ip_embedded(const struct ip_addr *addr, struct ip_addr *ret);
/* One host's address: not unspecified (all of 0.0.0.0/8), multicast, broadcast or IPv4-mapped. */
bool ip_is_unicast(const struct ip_addr *addr);
/* The IPv4 address that a gateway on the way may make of it: ip_embedded(), and ISATAP under any prefix (RFC 5214
 * section 6.1). False when there is none. */
bool ip_leads_to(const struct ip_addr *addr, struct ip_addr *ret);
/* An address that no name of another host may lead to: loopback, link-local, site-local, unspecified (all of
 * 0.0.0.0/8), multicast, reserved (240.0.0.0/4), where clouds tell a machine its secrets, and the forms in which an
 * IPv4 address is written as an IPv6 one and no public name is: mapped, compatible, translated, Teredo, local NAT64
 * (RFC 8215). What ip_leads_to() says is not looked at. */
bool ip_is_special(const struct ip_addr *addr);
/* 127.0.0.0/8 or ::1. */
bool ip_is_loopback(const struct ip_addr *addr);
/* The next address up, false when `addr` is the highest of its family. */
bool ip_next(const struct ip_addr *addr, struct ip_addr *ret);

/* `ip`, `ip:port`, `v6`, `[v6]`, `[v6]:port`; a missing port is `default_port`. 0 or -EINVAL (hostnames, port 0). */
int sock_addr_parse(const char *text, uint16_t default_port, struct sock_addr *ret);
struct sock_addr sock_addr_make(const struct ip_addr *addr, uint16_t port);
struct ip_addr sock_addr_ip(const struct sock_addr *addr);
uint16_t sock_addr_port(const struct sock_addr *addr);
socklen_t sock_addr_len(const struct sock_addr *addr);
bool sock_addr_equal(const struct sock_addr *a, const struct sock_addr *b);
const char *sock_addr_format(const struct sock_addr *addr, char out[SOCK_ADDR_TEXT_MAX]);

#endif
