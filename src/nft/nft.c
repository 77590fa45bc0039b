#include "nft/nft.h"

#include "base/loop.h"
#include "nft/ended.h"
#include "nft/flows.h"
#include "nft/guards.h"
#include "nft/inspect.h"
#include "nft/kept.h"
#include "nft/learn.h"
#include "nft/nft_policy.h"
#include "nft/nft_state.h"
#include "nft/peer_memory.h"
#include "nft/plan.h"
#include "nft/restore.h"
#include "nft/revoke.h"
#include "nft/sockets.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/random.h>

void nft_free(struct nft *nft)
{
    if (!nft)
        return;
    nft_policy_done(&nft->policy);
    nft_walks_free(nft);
    nft_policy_done(&nft->settled);
    nft_policy_done(&nft->walked);
    changes_free(nft->changes);
    buf_done(&nft->snapshot);
    install_done(&nft->install);
    batch_free(nft->batch);
    conn_free(nft->conn);
    conn_free(nft->asker);
    free(nft);
}

DEFINE_CLEANUP(struct nft, nft_cleanup, nft_free);

int nft_open(const struct nft_settings *settings, struct nft **ret, struct why *why)
{
    assert(settings->mark);
    if (settings->n_upstreams > NFT_UPSTREAMS_MAX)
        return why_set(why, -E2BIG, "more than %d upstreams", NFT_UPSTREAMS_MAX);
    uint64_t seed;
    if (getrandom(&seed, sizeof(seed), 0) < 0)
        return why_set(why, -errno, "no random numbers: %s", strerror(errno));
    _cleanup_(nft_cleanup) struct nft *nft = calloc(1, sizeof(*nft));
    if (!nft || batch_new(&nft->batch) || changes_new(settings->max_addresses, seed, &nft->changes))
        return why_set(why, -ENOMEM, "out of memory");
    nft->settings = settings;
    nft->dns_looks = DNS_LOOKS;
    int error = conn_open(&nft->conn, why);
    if (!error)
        error = conn_open(&nft->asker, why);
    if (!error)
        error = restore_is_open(nft->conn, &nft->is_first, why);
    if (error)
        return error;
    nft->no_flows = !flows_listable(nft->conn);
    nft->no_sockets = !sockets_listable();
    if (nft->no_flows)
        nft->dns_looks = 0;
    nft->settled.default_allow = nft->is_first;
    *ret = take_pointer(nft);
    return 0;
}

int nft_commit(struct nft *nft, struct batch *batch, struct why *why)
{
    int error = conn_commit(nft->conn, batch, why);
    metric_add(nft->settings->metrics, error ? METRIC_NFT_ERRORS : METRIC_NFT_UPDATES, 1);
    return error;
}

static size_t n_ranges(const struct ip_ranges *ranges)
{
    return ranges->n_v4 + ranges->n_v6;
}

/* Rules, and elements of the sets that only settings and policies fill. */
void nft_tell_rules(const struct nft *nft)
{
    const struct nft_settings *settings = nft->settings;
    const struct nft_policy *policy = &nft->policy;
    size_t n = nft->install.n_rules + settings->n_exempt + n_ranges(&settings->doh_blocklist) +
               n_ranges(&policy->always_deny) + n_ranges(&policy->always_allow) + n_ranges(&policy->deny) +
               n_ranges(&policy->allow);
    metric_set(settings->metrics, METRIC_NFT_RULES, settings->filter ? n : 0);
}

static void tell_addresses(const struct nft *nft)
{
    struct metrics *metrics = nft->settings->metrics;
    metric_set(metrics, METRIC_ADDRESSES_V4, leases_count(changes_leases(nft->changes, ALLOW_V4)));
    metric_set(metrics, METRIC_ADDRESSES_V6, leases_count(changes_leases(nft->changes, ALLOW_V6)));
    metric_set(metrics, METRIC_ADDRESSES_EVICTED, changes_evicted(nft->changes));
}

int nft_install(struct nft *nft, const struct nft_policy *policy, struct why *why)
{
    struct nft_policy copy;
    if (nft_policy_copy(policy, &copy))
        return why_set(why, -ENOMEM, "out of memory");
    /* Then no DNS flow is older than the redirect but one of this very moment, for which the later looks are. */
    bool skips_look = nft->is_first && nft->dns_looks == DNS_LOOKS && flows_none(nft->conn);
    int error = install_tables(&nft->install, nft->conn, nft->settings, policy, nft->changes, why);
    metric_add(nft->settings->metrics, error ? METRIC_NFT_ERRORS : METRIC_NFT_UPDATES, 1);
    if (error) {
        nft_policy_done(&copy);
        if (!nft->damaged)
            nft->harm.text[0] = '\0';
        nft->damaged = true; /* it may be closed */
        return error;
    }
    nft_policy_done(&nft->policy);
    nft->policy = copy;
    nft->dns_looks -= skips_look;
    nft->was_quiet = skips_look;
    nft->none_open = false; /* who knows what was let through before */
    nft->damaged = false;
    nft_tell_rules(nft);
    tell_addresses(nft);
    nft_remember_table(nft);
    return 0;
}

int nft_restore(struct nft *nft, const struct nft_policy *policy,
                bool (*still_allowed)(void *ctx, const uint8_t *name, size_t len), void *ctx, struct why *why)
{
    if (!nft->settings->filter)
        return 0;
    uint64_t now_ns = clock_monotonic_ns();
    int error = restore_leases(nft->conn, nft->changes, now_ns, why);
    if (error)
        return error;
    error = revoke_denied(nft->conn, nft->changes, policy, still_allowed, ctx, now_ns);
    if (!error)
        error = changes_make_room(nft->changes);
    if (error) {
        changes_roll_back(nft->changes);
        return why_set(why, error, "cannot take over learned addresses: %s", strerror(-error));
    }
    changes_commit(nft->changes); /* no table of ours shows the mirrors yet */
    return 0;
}

int nft_commit_changes(struct nft *nft, struct batch *batch, uint64_t now_ns, struct why *why)
{
    changes_encode(nft->changes, batch, now_ns);
    nft->revoked_since |= changes_revoke(nft->changes);
    int error = nft_commit(nft, batch, why);
    if (error) {
        changes_roll_back(nft->changes);
        return error;
    }
    changes_commit(nft->changes);
    tell_addresses(nft);
    return 0;
}

/* Changes nothing that is enforced, so it is not counted. */
int nft_write_kept(struct nft *nft, struct why *why)
{
    _cleanup_batch_ struct batch *batch = NULL;
    static const struct buf nothing;
    if (batch_new(&batch))
        return why_set(why, -ENOMEM, "out of memory");
    batch_begin(batch);
    int error = kept_replace(batch, nft->settings->kept);
    error = error ? why_set(why, error, "it is too long") : conn_commit(nft->conn, batch, why);
    if (!error)
        return 0;
    batch_begin(batch);
    kept_replace(batch, &nothing);
    conn_commit(nft->conn, batch, NULL);
    return error;
}

bool nft_guards_frames(const struct nft *nft)
{
    return !(nft->install.lacks & LACKS_FRAMES);
}

bool nft_guards_answers(const struct nft *nft)
{
    return !(nft->install.lacks & LACKS_SOCKETS);
}

bool nft_rejects(const struct nft *nft)
{
    return !(nft->install.lacks & LACKS_REJECT);
}

bool nft_lists_flows(const struct nft *nft)
{
    return !nft->no_flows;
}

bool nft_lists_sockets(const struct nft *nft)
{
    return !nft->no_sockets;
}

bool nft_knows_group(const struct nft *nft)
{
    return nft->settings->group != 0;
}

bool nft_logs_peers(const struct nft *nft)
{
    return nft->settings->log_peers && !nft->install.no_peers;
}

void nft_preview(struct nft *nft, const struct nft_policy *policy,
                 bool (*still_allowed)(void *ctx, const uint8_t *name, size_t len),
                 void (*report)(void *ctx, const struct lease_info *lease), void *ctx)
{
    if (!nft_refuses(nft->settings))
        return;
    inspect_revocation(nft->changes, &nft->policy, policy, still_allowed, report, ctx, clock_monotonic_ns());
}

void nft_lookup(const struct nft *nft, const struct ip_addr *addr, struct lease_info *ret)
{
    inspect_lease(nft->changes, addr, clock_monotonic_ns(), ret);
}

size_t nft_list(const struct nft *nft, size_t max, void (*report)(void *ctx, const struct lease_info *lease), void *ctx)
{
    return inspect_leases(nft->changes, max, report, ctx, clock_monotonic_ns());
}

static int learn(struct nft *nft, const struct learned *learned, size_t n, uint64_t now_ns)
{
    int error = 0;
    for (size_t i = 0; i < n && !error; i++)
        error = learn_address(nft->changes, &nft->policy, &learned[i], now_ns);
    if (!error && !changes_count(nft->changes))
        return 0;
    if (!error)
        error = ended_keep_prolonged(nft->conn, nft->changes, now_ns);
    if (!error)
        error = ended_settle(nft->conn, nft->changes, changes_count(nft->changes), now_ns);
    if (!error)
        error = changes_make_room(nft->changes);
    if (error) {
        changes_roll_back(nft->changes);
        return error;
    }
    batch_begin(nft->batch);
    return nft_commit_changes(nft, nft->batch, now_ns, NULL);
}

int nft_learn(struct nft *nft, const struct learned *learned, size_t n, uint64_t now_ns)
{
    if (!nft->settings->filter)
        return 0;
    int error = learn(nft, learned, n, now_ns);
    /* Full by the kernel's count, which has ended elements in it that it did not get to collect: start over with sets
     * that hold what the mirror holds. */
    if (error == -ENFILE && nft_install(nft, &nft->policy, NULL) == 0)
        error = learn(nft, learned, n, now_ns);
    return error;
}

bool nft_reaches(const struct nft *nft, const struct ip_addr *addr, uint32_t seconds, uint64_t now_ns)
{
    return !nft->settings->filter || learned_until(nft->changes, addr) > now_ns + (seconds + 1ull) * NS_PER_S;
}
