/* What most tests of the kernel's side begin with: settings, the strictest policy, names, and who decides about them.
 */
#ifndef TESTS_UNIT_NFT_PLAIN_H
#define TESTS_UNIT_NFT_PLAIN_H

#include "nft_fixture.h"

#include <unistd.h>

/* Names in wire format. */
#define A "\1a\7example"
#define B "\1b\7example"

static struct metrics counts;
static const struct nft_settings plain = {
    .filter = true, .dns_port = DNS_PORT, .mark = MARK, .metrics = &counts, .max_addresses = 1000};
static const struct nft_policy deny_all = {0};

/* A checked fixture: the test has a network namespace of its own. */
static inline void enter(void)
{
    close(netns_enter_new());
}

static inline bool nothing(void *ctx, const uint8_t *name, size_t len)
{
    return false;
}

static inline bool everything(void *ctx, const uint8_t *name, size_t len)
{
    return true;
}

#endif
