#include "nft/sets.h"

#include "base/wire.h"
#include "nft/elements.h"

#include <libnftnl/set.h>
#include <linux/netfilter/nf_tables.h>
#include <stdio.h>
#include <string.h>

#define ANONYMOUS_NAME "__set%d" /* the kernel puts a number in */

static void declare(struct batch *batch, const char *name, uint32_t id, uint32_t flags, uint32_t type, size_t key_size,
                    uint32_t size)
{
    struct nftnl_set *set = nftnl_set_alloc();
    if (!set || nftnl_set_set_str(set, NFTNL_SET_TABLE, NFT_TABLE) || nftnl_set_set_str(set, NFTNL_SET_NAME, name))
        batch_fail(batch);
    if (!set)
        return;
    nftnl_set_set_u32(set, NFTNL_SET_ID, id);
    nftnl_set_set_u32(set, NFTNL_SET_FLAGS, flags);
    nftnl_set_set_u32(set, NFTNL_SET_KEY_TYPE, type);
    nftnl_set_set_u32(set, NFTNL_SET_KEY_LEN, (uint32_t)key_size);
    if (size)
        nftnl_set_set_u32(set, NFTNL_SET_DESC_SIZE, size);
    nftnl_set_nlmsg_build_payload(batch_message(batch, NFT_MSG_NEWSET, NLM_F_CREATE), set);
    nftnl_set_free(set);
}

const char *set_name(const char *stem, uint8_t family, char out[SET_NAME_MAX])
{
    snprintf(out, SET_NAME_MAX, "%s_v%d", stem, family == AF_INET ? 4 : 6);
    return out;
}

void set_of_addresses(struct batch *batch, const char *stem, uint8_t family, uint32_t flags, uint32_t size)
{
    char name[SET_NAME_MAX];
    declare(batch, set_name(stem, family, name), batch_next_set_id(batch), flags,
            family == AF_INET ? KEY_IPV4 : KEY_IPV6, ip_size(family), size);
}

void set_of_endpoints(struct batch *batch, const char *stem, uint8_t family)
{
    char name[SET_NAME_MAX];
    uint32_t address = family == AF_INET ? KEY_IPV4 : KEY_IPV6;
    declare(batch, set_name(stem, family, name), batch_next_set_id(batch), 0, address << KEY_TYPE_BITS | KEY_PORT,
            ip_size(family) + 4, 0);
}

size_t peer_key_size(uint8_t family)
{
    return ip_size(family) + 8; /* each part is padded to four bytes */
}

void set_of_peers(struct batch *batch, const char *stem, uint8_t family, uint32_t size)
{
    char name[SET_NAME_MAX];
    uint32_t address = family == AF_INET ? KEY_IPV4 : KEY_IPV6;
    declare(batch, set_name(stem, family, name), batch_next_set_id(batch), NFT_SET_TIMEOUT | NFT_SET_EVAL,
            address << 2 * KEY_TYPE_BITS | KEY_PROTOCOL << KEY_TYPE_BITS | KEY_PORT, peer_key_size(family), size);
}

void set_of_flows(struct batch *batch, const char *stem, uint8_t family, uint32_t size)
{
    char name[SET_NAME_MAX];
    uint32_t address = family == AF_INET ? KEY_IPV4 : KEY_IPV6;
    declare(batch, set_name(stem, family, name), batch_next_set_id(batch), NFT_SET_TIMEOUT | NFT_SET_EVAL,
            address << 2 * KEY_TYPE_BITS | KEY_PORT << KEY_TYPE_BITS | KEY_PORT, peer_key_size(family), size);
}

void set_of_ports(struct batch *batch, const char *name)
{
    declare(batch, name, batch_next_set_id(batch), NFT_SET_TIMEOUT, KEY_PORT, sizeof(uint16_t), 0);
}

void set_of_numbers(struct batch *batch, const char *name)
{
    declare(batch, name, batch_next_set_id(batch), 0, KEY_PORT, sizeof(uint16_t), 0);
}

size_t endpoint_key(const struct sock_addr *endpoint, uint8_t key[ENDPOINT_KEY_MAX])
{
    struct ip_addr addr = sock_addr_ip(endpoint);
    size_t size = ip_size(addr.family);
    memset(key, 0, ENDPOINT_KEY_MAX);
    memcpy(key, addr.bytes, size);
    wire_store16(key + size, sock_addr_port(endpoint));
    return size + 4;
}

bool endpoint_from_key(const void *key, size_t size, uint8_t family, struct sock_addr *ret)
{
    const uint8_t *bytes = key;
    if (!key || size != ip_size(family) + 4)
        return false;
    struct ip_addr addr = family == AF_INET ? ip_from_v4(bytes) : ip_from_v6(bytes);
    *ret = sock_addr_make(&addr, wire_load16(bytes + ip_size(family)));
    return true;
}

uint32_t anonymous_set(struct batch *batch, enum key_type type, const void *values, size_t n)
{
    size_t size = type == KEY_PORT ? 2 : 1;
    uint32_t id = batch_next_set_id(batch);
    declare(batch, ANONYMOUS_NAME, id, NFT_SET_ANONYMOUS | NFT_SET_CONSTANT, type, size, (uint32_t)n);
    struct elements elements = {.batch = batch, .type = NFT_MSG_NEWSETELEM, .set = ANONYMOUS_NAME, .set_id = id};
    for (size_t i = 0; i < n; i++)
        elements_put(&elements, &(struct element){.key = (const uint8_t *)values + i * size, .size = size});
    elements_end(&elements);
    return id;
}
