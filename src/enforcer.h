/* The policy in force: the API's and the always files over it, held alike by the kernel and the DNS proxy. Belongs to
 * the loop thread. */
#ifndef ENFORCER_H
#define ENFORCER_H

#include "base/buf.h"
#include "base/log.h"
#include "dns/proxy.h"
#include "nft/nft.h"
#include "sources.h"

#define ENFORCER_PREVIEW_MAX 1000

/* A dry run under way. */
struct preview {
    struct policy_layers layers; /* references */
    struct forecast *forecast;
    void (*done)(void *ctx, int error, const struct why *why);
    void *ctx;
};

/* Filled by the daemon; all but `policy` and `always` are borrowed. */
struct enforcer {
    const struct config *config;
    struct log *log;
    struct metrics *metrics;
    struct nft *nft;
    struct dns_proxy *proxy;
    struct policy *policy; /* a reference */
    struct always always;
    struct buf kept; /* the newest change that was accepted, for a later start; empty: none was, or a file has it */
    bool warned_of_kept;
    struct preview preview;
    bool warned_of_raw_sockets, warned_of_xdp, warned_of_reject, warned_of_flows, warned_of_sockets;
};

struct policy_layers enforcer_layers(const struct enforcer *enforcer);
/* Queues of devices that AF_XDP sockets send over may be somebody else's, see xdp.h. */
void enforcer_warn_of_xdp(struct enforcer *enforcer);
/* Puts the kernel's table in place, at start, with the addresses that an earlier process learned. */
int enforcer_install(struct enforcer *enforcer, struct why *why);
/* Enforces `next` (a reference is taken) in one turn of the loop. On failure the old policy is in force everywhere. */
int enforcer_change(struct enforcer *enforcer, struct policy *next, struct why *why);
/* What enforcing `next` would take away goes into `ret`, of addresses and flows the first ENFORCER_PREVIEW_MAX each.
 * Then `done` is called, soon, with 0 or -errno. Changes nothing. One at a time. */
void enforcer_preview(struct enforcer *enforcer, struct policy *next, struct forecast *ret,
                      void (*done)(void *ctx, int error, const struct why *why), void *ctx);
/* The policy that was applied last stays: counts it, and ends the open flows that lost permission. `done` is called
 * then; it hands its verdict to enforcer_settled(). */
void enforcer_settle(struct enforcer *enforcer, nft_settled *done, void *ctx);
/* Logs when they could not be ended. `enforcer` is a struct enforcer. */
void enforcer_settled(void *enforcer, int error, const struct why *why);
/* Rereads the always files; a bad new version leaves the last good rules in force. Logs and counts what came of it,
 * unless `again`: the same version failed before. True when this version need not be read again: its rules are in
 * force, or their text is at fault. Blocks on the disk. */
bool enforcer_reload_always(struct enforcer *enforcer, bool again);
/* Puts the kernel's table in place anew when somebody else changed nftables, and logs it; guards new
 * devices. False when it may not be in place; `why` says why then. To be called every second and when devices come or
 * go. */
bool enforcer_keep(struct enforcer *enforcer, struct why *why);
/* What of the policy refuses this address: the target of a rule, `revoked` when it was taken away with a permission
 * before, else `default`. Lives until the policy changes. */
const char *enforcer_refusal(const struct enforcer *enforcer, const struct ip_addr *addr);
/* Whether a policy needs a rule to allow this address: no always file decides about it, and no name led to it. */
bool enforcer_needs_rule(const struct enforcer *enforcer, const struct ip_addr *addr);
/* The event egress.loaded. */
void enforcer_log_loaded(struct enforcer *enforcer, enum policy_source source);
/* Gives up what it owns. */
void enforcer_done(struct enforcer *enforcer);

#endif
