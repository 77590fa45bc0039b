/* Declarations of sets. */
#ifndef NFT_SETS_H
#define NFT_SETS_H

#include "base/ip.h"
#include "nft/batch.h"

#include <stddef.h>
#include <stdint.h>

/* How nft(8) reads a key; numbers of its own (nftables, datatype.h), which the kernel only keeps. */
enum key_type {
    KEY_IPV4 = 7,
    KEY_IPV6 = 8,
    KEY_PROTOCOL = 12,
    KEY_PORT = 13,
    KEY_ICMP_TYPE = 14,
    KEY_ICMPV6_TYPE = 29
};
#define KEY_TYPE_BITS 6 /* of one part of a concatenation */

#define SET_NAME_MAX 32
/* `deny` and AF_INET make `deny_v4`. */
const char *set_name(const char *stem, uint8_t family, char out[SET_NAME_MAX]);

/* Declares the set `stem`_v4 or _v6. `flags`: NFT_SET_*; `size`: most elements, 0 = no limit. */
void set_of_addresses(struct batch *batch, const char *stem, uint8_t family, uint32_t flags, uint32_t size);
/* The same for addresses with ports: keys as endpoint_key() makes them. */
void set_of_endpoints(struct batch *batch, const char *stem, uint8_t family);
/* The same for addresses, protocols and ports that rules remember for a time. */
void set_of_peers(struct batch *batch, const char *stem, uint8_t family, uint32_t size);
size_t peer_key_size(uint8_t family);
/* The same for addresses with their port and the port here; the keys have that size, too. */
void set_of_flows(struct batch *batch, const char *stem, uint8_t family, uint32_t size);
/* A set of ports, each for a time. */
void set_of_ports(struct batch *batch, const char *name);
/* A set of 16-bit numbers in network order. */
void set_of_numbers(struct batch *batch, const char *name);
#define ENDPOINT_KEY_MAX 20
/* Address and port, each padded to four bytes, and its size. */
size_t endpoint_key(const struct sock_addr *endpoint, uint8_t key[ENDPOINT_KEY_MAX]);
/* False when the key is none of `family`. */
bool endpoint_from_key(const void *key, size_t size, uint8_t family, struct sock_addr *ret);
/* Makes a constant set without a name for the next rule, returns its id. `values`: `n` of 1 byte (protocols, types) or
 * of 2 bytes in network order (ports). A set serves one rule. */
uint32_t anonymous_set(struct batch *batch, enum key_type type, const void *values, size_t n);

#endif
