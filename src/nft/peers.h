/* Direct connections in the log: those that the sandbox opens to addresses that no name led to, allowed
 * (egress.outbound) or refused (egress.denied). Rules show the first of a minute to each destination, protocol and
 * port, and not more than PEER_LOG_PER_S (peer_chains.h); all are counted. Belongs to the loop's thread. */
#ifndef NFT_PEERS_H
#define NFT_PEERS_H

#include "base/log.h"
#include "base/loop.h"
#include "nft/nft.h"

struct peers_hooks {
    void *ctx;
    /* What of the policy refuses the address, for the log: the target of a rule, or a word. Lives as long as the call.
     */
    const char *(*refused_by)(void *ctx, const struct ip_addr *addr);
    /* A direct connection was seen that a policy can allow (so not one that its port forbids). NULL: nobody wants to
     * know. */
    void (*seen)(void *ctx, const struct ip_addr *addr);
};

struct peers;

/* Listens. To be called before nft_open(), and on success `log_peers` to be set in the settings of that. Fails when the
 * kernel has no NFLOG or somebody else listens already; everything but the log works without. `settings` and `log` are
 * borrowed. */
int peers_new(struct loop *loop, const struct nft_settings *settings, const struct peers_hooks *hooks, struct log *log,
              struct peers **ret, struct why *why);
void peers_free(struct peers *peers);
/* Reads the kernel's counters into the metrics, and reports what the limit kept out of the log, once a minute at most.
 * To be called every second or so. */
void peers_count(struct peers *peers);

#endif
