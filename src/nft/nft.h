/* What the kernel enforces: table `inet opensandbox`. The façade over nftables; no other module speaks netlink.
 * No packet meets anything but what held before a change or what holds after it. Calls wait for the kernel's verdict
 * (some microseconds; milliseconds for large policies) and belong to one thread. */
#ifndef NFT_NFT_H
#define NFT_NFT_H

#include "base/buf.h"
#include "base/learned.h"
#include "base/mailbox.h"
#include "base/metrics.h"
#include "base/search_text.h"
#include "base/why.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NFT_UPSTREAMS_MAX 63
#define NFT_OWN_PORTS_MAX 8

/* What stays the same for the life of the process. All pointers are borrowed and must outlive `struct nft`. */
struct nft_settings {
    bool filter;                       /* dns+nft: the filter chain and the sets; else the redirect alone */
    bool audit;                        /* what would be refused is logged and let through, and no flow is ended */
    uint16_t dns_port;                 /* where port 53 is redirected to, on this host */
    uint32_t mark;                     /* SO_MARK of the sidecar's own packets, not 0 */
    uint32_t group;                    /* of the process when it made their sockets; 0: the mark alone tells them */
    const struct sock_addr *upstreams; /* the mark opens their ports, and port 53, to any address */
    size_t n_upstreams;                /* at most NFT_UPSTREAMS_MAX */
    const struct search_text *search;  /* kept for nft_recall_search(), which is all; NULL: nothing is kept */
    const struct buf *kept;            /* what nft_recall_kept() is to find, as nft_write_kept() says; NULL: nothing */
    const struct ip_addr *exempt;      /* DNS to them is not redirected; port 53 reaches them */
    size_t n_exempt;
    bool block_doh_443;
    struct ip_ranges doh_blocklist; /* empty with block_doh_443: all of 443 */
    const uint16_t *own_ports;      /* more ports that the mark opens: of endpoints that the sidecar connects to */
    size_t n_own_ports;             /* at most NFT_OWN_PORTS_MAX */
    uint32_t max_addresses;         /* learned addresses per family */
    bool drops;                     /* what is refused is dropped without a word: the kernel has no `reject` */
    bool log_peers;                 /* rules show direct connections to who listens, see peers.h */
    struct metrics *metrics;
    struct mailbox *mailbox; /* of the loop that all calls come from; NULL: flows are left alone */
};

/* What a policy change replaces. */
struct nft_policy {
    bool default_allow;
    struct ip_ranges always_deny, always_allow, deny, allow;
};

struct nft;

/* Opens the netlink socket; changes nothing. -EPERM without CAP_NET_ADMIN. */
int nft_open(const struct nft_settings *settings, struct nft **ret, struct why *why);
void nft_free(struct nft *nft);
/* Reads the learned and the revoked addresses back that an earlier process left in the kernel, as far as they bear
 * names, and takes those away that `policy` denies, as nft_apply() does. The kernel sees it with nft_install(), before
 * which this is to be called, once. In dns mode it does nothing. */
int nft_restore(struct nft *nft, const struct nft_policy *policy,
                bool (*still_allowed)(void *ctx, const uint8_t *name, size_t len), void *ctx, struct why *why);
/* Puts the whole table in place, replacing a table an earlier run left in one transaction; with a filter also table
 * `netdev opensandbox`, which keeps raw frames from leaving, where the kernel can. On failure the old table is there,
 * or the new one, closed. */
int nft_install(struct nft *nft, const struct nft_policy *policy, struct why *why);
/* Looks whether anyone but us changed nftables since our newest transaction, and if so, whether our table is still what
 * we made it: the same chains, rules and sets, with the same elements. If it is not, it is put in place anew with
 * everything learned, and `*ret_repaired` is true and `why` says what was done to it. What others do elsewhere is not
 * our business. With more than 32,768 elements the table is not compared but put in place anew, which is no repair. The
 * frames of network devices that are new are guarded. To be called every second or so. On failure the table may not be
 * in place: call again. */
int nft_keep(struct nft *nft, bool *ret_repaired, struct why *why);
/* Whether anyone changed nftables since nft_keep() looked, or this process is just doing so: what it said may not hold
 * any more. For one other thread than the rest, while `nft` lives; takes 2 µs. */
bool nft_is_behind(const struct nft *nft);
/* nft_keep() compares the table at its next call even if it did so a moment ago. */
void nft_look_at_once(struct nft *nft);
/* Whether raw frames (AF_PACKET) are kept from leaving; false on kernels without the netdev egress hook. */
bool nft_guards_frames(const struct nft *nft);
/* Whether replies to redirected questions are kept from the sidecar's own sockets; false on kernels without nft_socket.
 */
bool nft_guards_answers(const struct nft *nft);
/* Whether the sandbox is told of refusals; false on kernels without nft_reject_inet. */
bool nft_rejects(const struct nft *nft);
/* Whether open flows can be listed; false on kernels without nf_conntrack_netlink, where their sockets are. */
bool nft_lists_flows(const struct nft *nft);
/* Whether sockets can be; false on kernels without inet_diag, where only rules stop flows. */
bool nft_lists_sockets(const struct nft *nft);
/* Whether it takes more than the mark to be taken for the sidecar. */
bool nft_knows_group(const struct nft *nft);
/* Whether rules show direct connections: `log_peers`, unless the kernel does not take them. */
bool nft_logs_peers(const struct nft *nft);
/* Replaces the static sets and the default, and takes learned addresses away for which `still_allowed` says no for
 * every name that led to them. In as many transactions as it takes that every packet meets the old policy or the new
 * one (nft/steps.h). 0: the new one is in force, all of it. On failure the old one is, or put in place by nft_keep();
 * when even the whole table could not be had, all learned addresses are closed until they are learned again. In dns
 * mode it does nothing. */
int nft_apply(struct nft *nft, const struct nft_policy *policy,
              bool (*still_allowed)(void *ctx, const uint8_t *name, size_t len), void *ctx, struct why *why);
typedef void nft_settled(void *ctx, int error, const struct why *why);
/* Ends the open flows, downloads too, that lost permission with the policies applied since the last call: once it is
 * sure that they stay in force. Flows that came from outside are never touched. It does not block: a thread lists the
 * flows, and `done` is called when they have ended (at once when no permission was lost, in dns mode, and with audit).
 * The rules refuse their packets already; on failure some flows may last until they send one. At the first call, when
 * no filter of ours was in place before nft_open(), everything counts as allowed until then; sockets that conntrack
 * does not know are ended as well, or get their entry, and what comes first to a UDP port that was open then is taken
 * for an older flow for a while (nft/older.h). DNS flows from before the redirect are forgotten before the first call
 * returns, in dns mode, too, so that their next packet is redirected; nft_keep() looks for more of them a few times. */
void nft_settle(struct nft *nft, nft_settled *done, void *ctx);
/* Reports every learned address that is let through now and would not be after nft_apply() with the same arguments;
 * changes nothing. With audit there is none. `ctx` is for both functions. */
void nft_preview(struct nft *nft, const struct nft_policy *policy,
                 bool (*still_allowed)(void *ctx, const uint8_t *name, size_t len),
                 void (*report)(void *ctx, const struct lease_info *lease), void *ctx);
/* What nft_preview_flows() wants to know, and whom it tells. */
struct nft_preview {
    struct nft_policy policy; /* its ranges are borrowed until `done` */
    bool (*still_allowed)(void *ctx, const uint8_t *name, size_t len);
    void (*report_flow)(void *ctx, uint8_t protocol, const struct sock_addr *peer);
    nft_settled *done;
    void *ctx; /* for all of them */
};
/* Reports every open TCP or UDP flow that passes now and would be ended after nft_apply() and nft_settle(), then calls
 * `done`. Does not block, see nft_settle(); one at a time. In dns mode and with audit there are none. */
void nft_preview_flows(struct nft *nft, const struct nft_preview *what);
/* What is known of an address that was or was not learned. */
void nft_lookup(const struct nft *nft, const struct ip_addr *addr, struct lease_info *ret);
/* Reports the first `max` addresses that are learned or revoked, in no order, and returns how many there are: some
 * milliseconds for hundreds of thousands. */
size_t nft_list(const struct nft *nft, size_t max, void (*report)(void *ctx, const struct lease_info *lease),
                void *ctx);
/* Lets these addresses through for their lease, prolonging those already known: `now_ns` is CLOCK_MONOTONIC, at most a
 * second old. All or none: 0 or -errno; -ENOSPC when these alone are more than max_addresses. When they do not fit
 * beside those known, the ones that end first make room. In dns mode it does nothing. */
int nft_learn(struct nft *nft, const struct learned *learned, size_t n, uint64_t now_ns);
/* Whether a learned address is let through for that many seconds from `now_ns` on, whatever connections may add. In dns
 * mode all are. Reads memory only. */
bool nft_reaches(const struct nft *nft, const struct ip_addr *addr, uint32_t seconds, uint64_t now_ns);
/* Seconds that an address learned now with this TTL is let through (TTL + 60, from 60 to 360). */
uint32_t nft_lease_seconds(uint32_t ttl);
/* Seconds that a client may hold it: the lease, less what it can lose because it is neither prolonged nor ended to the
 * second. A longer TTL must be cut to this in the answer. */
uint32_t nft_hold_seconds(uint32_t ttl);
/* The upstreams, in order, with which an earlier process put the table in place; none when there is no table. Of two
 * that differ in their zones only, the first. */
int nft_recall_upstreams(struct sock_addr *ret, size_t max, size_t *ret_n, struct why *why);
/* Its search list. `*ret_found`: there is one, maybe of no names. */
int nft_recall_search(struct search_text *ret, bool *ret_found, struct why *why);
/* What an earlier process kept in the table as `kept`, appended; nothing when it kept nothing. */
int nft_recall_kept(struct buf *ret, struct why *why);
/* Keeps what `settings->kept` is by now. On failure nothing is kept, if the kernel allows that much. */
int nft_write_kept(struct nft *nft, struct why *why);
/* Takes the tables away. 0 also when there is none. */
int nft_remove(struct why *why);
/* When no table of ours exists, or one of audit mode and that is not `audit_guards`, installs one that refuses
 * everything but loopback and replies of connections from outside. 0 (also when a table stays) or -errno. */
int nft_close_unless_guarded(bool audit_guards, struct why *why);

#endif
