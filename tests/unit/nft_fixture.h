/* Network namespaces of a test's own, and what nft(8) says is in them. Everything goes when the test's process ends. */
#ifndef TESTS_UNIT_NFT_FIXTURE_H
#define TESTS_UNIT_NFT_FIXTURE_H

#include "base/ip.h"
#include "nft/nft.h"

#define MARK 0x5eed1234u
#define DNS_PORT 15353

/* Enters a fresh network namespace with loopback up; in a fresh user namespace when not root. Returns its descriptor.
 */
int netns_enter_new(void);
/* Goes to a namespace that netns_enter_new() returned. */
void netns_enter(int fd);
/* Runs a shell command; fails the test when it fails. */
void run(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* What a shell command prints, up to 8 MiB, until the next call; "" when it fails. */
const char *output(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Fails the test unless the table reads like tests/unit/data/nft/NAME. */
void expect_table(const char *name);
/* Whether what a command prints has `needle` in it; a command that fails prints nothing and is no "not". */
void expect(const char *command, const char *needle);
void expect_not(const char *command, const char *needle);
/* How often `needle` is in `text`. */
size_t occurrences(const char *text, const char *needle);

struct ip_addr ip(const char *text);
/* A range list of prefixes, for a policy; at most 16, and never freed. */
struct ip_ranges ranges(const char *first, ...) __attribute__((sentinel));

/* Opens and installs, or fails the test. */
struct nft *installed(const struct nft_settings *settings, const struct nft_policy *policy);
/* Learns one address for a name in wire format; returns what nft_learn() returns. */
int learn(struct nft *nft, const char *addr, const char *wire_name, uint32_t ttl);

#endif
