/* The part of nft.h that is about open flows. */
#include "base/cleanup.h"
#include "base/ip_ranges.h"
#include "base/loop.h"
#include "nft/counter.h"
#include "nft/cut.h"
#include "nft/flows.h"
#include "nft/inspect.h"
#include "nft/nft_policy.h"
#include "nft/nft_state.h"
#include "nft/older.h"
#include "nft/peer_chains.h"
#include "nft/sockets.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

/* Where no flow was open before the first rules, the first walk is for those of that very moment. The kernel keeps the
 * processor for it that the first answers need. */
#define QUIET_START_MS 30

/* Who waits for a walk to be over. */
struct waiter {
    struct waiter *next;
    nft_settled *done;
    void *ctx;
};

/* --- what the policy in force becomes --- */

/* The policy that the walk under way is about. */
static const struct nft_policy *walked(const struct nft *nft)
{
    if (!nft->overtaken)
        return &nft->policy;
    return nft->has_walked ? &nft->walked : &nft->settled;
}

void nft_set_policy(struct nft *nft, struct nft_policy *next)
{
    if (nft->is_settled) {
        nft->settled = nft->policy;
        nft->is_settled = false;
    } else if (nft->walk && !nft->overtaken) {
        nft->walked = nft->policy;
        nft->has_walked = true;
    } else {
        nft_policy_done(&nft->policy);
    }
    nft->overtaken = nft->walk != NULL;
    nft->policy = *next;
}

/* Flows were ended as far as the policy wants that the walk was about. */
static void policy_settled(struct nft *nft)
{
    nft->has_settled = true;
    nft->is_first = false;
    if (nft->overtaken && !nft->has_walked)
        return; /* `settled` is that policy already */
    nft_policy_done(&nft->settled);
    nft->is_settled = !nft->overtaken;
    if (nft->has_walked)
        nft->settled = nft->walked;
    nft->walked = (struct nft_policy){0};
}

/* Whether the policy takes permission from anything that the one before gave it to. */
static bool takes_away(const struct nft_policy *before, const struct nft_policy *now)
{
    return (before->default_allow && !now->default_allow) ||
           !ip_ranges_within(&now->always_deny, &before->always_deny) || !ip_ranges_within(&now->deny, &before->deny) ||
           !ip_ranges_within(&before->always_allow, &now->always_allow) ||
           !ip_ranges_within(&before->allow, &now->allow);
}

/* --- settling --- */

/* Makes sure that rules refuse what these flows send; but for those that a policy which has overtaken this walk allows:
 * it would be without an address that it promises. */
static int refuse_flows(struct nft *nft, struct cut *cut, const struct buf *flows, struct why *why)
{
    const struct flow *flow = (const struct flow *)flows->data;
    struct cut in_force = *cut;
    in_force.now = &nft->policy;
    int error = 0;
    for (size_t left = flows->len / sizeof(*flow); left > 0 && !error; left--, flow++) {
        struct ip_addr peer = sock_addr_ip(&flow->peer);
        if (nft->overtaken && cut_allows(&in_force, &peer))
            nft->has_spared = true;
        else
            error = cut_refuse(cut, flow);
    }
    if (!error)
        error = changes_make_room(nft->changes);
    if (error || !changes_count(nft->changes)) {
        changes_roll_back(nft->changes);
        return error ? why_set(why, error, "cannot refuse flows: %s", strerror(-error)) : 0;
    }
    batch_begin(nft->batch);
    return nft_commit_changes(nft, nft->batch, cut->now_ns, why);
}

static struct cut make_cut(struct nft *nft)
{
    const struct nft_policy *now = walked(nft);
    return (struct cut){.settings = nft->settings,
                        .changes = nft->changes,
                        .before = nft->is_settled ? now : &nft->settled,
                        .now = now,
                        .now_ns = clock_monotonic_ns()};
}

/* From now on only clients make entries of connections from outside: see chain_inbound(). Those from before that others
 * may have made are taken away, so that the next packet decides. */
static int forget_doubtful(struct nft *nft, bool older[UINT16_MAX + 1], struct why *why)
{
    _cleanup_buf_ struct buf flows = {0};
    older[nft->settings->dns_port] = false; /* the sidecar's own, on loopback alone */
    batch_begin(nft->batch);
    older_put_ports(nft->batch, older);
    int error = nft_commit(nft, nft->batch, why);
    if (!error)
        error = flows_find_doubtful(nft->conn, &flows, why);
    return error ? error : flows_forget(nft->conn, &flows, why);
}

/* Connections from before conntrack looked at packets have no entry: only their sockets tell of them. Those that the
 * policy refuses end, those that it allows get one. */
static int judge_untracked(struct nft *nft, const struct buf *sockets, struct why *why)
{
    _cleanup_buf_ struct buf ended = {0}, kept = {0};
    struct cut cut = make_cut(nft);
    const struct flow *flow = (const struct flow *)sockets->data;
    for (size_t left = sockets->len / sizeof(*flow); left > 0; left--, flow++) {
        struct ip_addr peer = sock_addr_ip(&flow->peer);
        if (cut_wants(&cut, flow))
            buf_append(&ended, flow, sizeof(*flow));
        else if (!cut_spares(nft->settings, flow) && cut_allows(&cut, &peer))
            buf_append(&kept, flow, sizeof(*flow));
    }
    if (ended.failed || kept.failed)
        return why_set(why, -ENOMEM, "out of memory");
    int error = flows_end(nft->conn, &ended, why);
    return error ? error : flows_remember(nft->conn, &kept, why);
}

/* What is older than the first rules. At once, since a socket does not say whether it was redirected to us a moment
 * later. */
static int judge_older(struct nft *nft, struct why *why)
{
    _cleanup_buf_ struct buf sockets = {0};
    _cleanup_close_ int fd = sockets_open();
    if (fd < 0)
        return why_set(why, fd, "cannot ask for sockets: %s", strerror(-fd));
    _cleanup_free_ bool *older = calloc(UINT16_MAX + 1, sizeof(*older));
    if (!older)
        return why_set(why, -ENOMEM, "out of memory");
    int error = sockets_find(fd, nft->settings->mark, &sockets, older, why);
    if (!error)
        error = forget_doubtful(nft, older, why);
    return error ? error : judge_untracked(nft, &sockets, why);
}

/* When conntrack cannot be listed. */
static int end_by_sockets(struct nft *nft, struct why *why)
{
    _cleanup_buf_ struct buf sockets = {0}, ended = {0};
    _cleanup_close_ int fd = sockets_open();
    struct cut cut = make_cut(nft);
    if (fd < 0)
        return why_set(why, fd, "cannot ask for sockets: %s", strerror(-fd));
    int error = sockets_find(fd, nft->settings->mark, &sockets, NULL, why);
    const struct flow *flow = (const struct flow *)sockets.data;
    for (size_t left = sockets.len / sizeof(*flow); left > 0 && !error; left--, flow++)
        if (cut_wants(&cut, flow))
            buf_append(&ended, flow, sizeof(*flow));
    if (ended.failed)
        return why_set(why, -ENOMEM, "out of memory");
    if (!error)
        error = refuse_flows(nft, &cut, &ended, why);
    return error ? error : flows_end(nft->conn, &ended, why);
}

static int choose_cut(void *ctx, struct buf *flows, struct why *why)
{
    struct nft *nft = ctx;
    struct cut cut = make_cut(nft);
    struct flow *all = (struct flow *)flows->data;
    size_t n = flows->len / sizeof(*all), kept = 0;
    nft->none_open = false;
    for (size_t i = 0; i < n; i++)
        if (cut_wants(&cut, &all[i]))
            all[kept++] = all[i];
    flows->len = kept * sizeof(*all);
    return refuse_flows(nft, &cut, flows, why);
}

static void start_walk(struct nft *nft);

static void walk_over(void *ctx, int error, const struct why *why)
{
    struct nft *nft = ctx;
    struct waiter *waiter = nft->waiting, *next;
    nft->waiting = NULL;
    nft->walk = NULL;
    nft->none_open &= !error;
    if (!error && !nft->has_spared)
        policy_settled(nft);
    else /* the next walk is about both: the policy that overtook this one may be taken back */
        nft_policy_done(&nft->walked); /* what was in force before is still known */
    nft->has_walked = nft->overtaken = nft->has_spared = false;
    for (; waiter; waiter = next) {
        next = waiter->next;
        waiter->done(waiter->ctx, error, why);
        free(waiter);
    }
    if (nft->late && !nft->walk)
        start_walk(nft);
}

/* Whether a walk would find nothing: the newest found nothing, and nothing was opened since it began. A walk keeps a
 * processor for as long as the kernel needs to go through its table, which is 10 ms if there are 262,144 buckets. */
static bool nothing_open(struct nft *nft)
{
    uint64_t opened;
    const char *name = opened_counter;
    bool counted = !counters_read(nft->conn, &name, 1, &opened);
    bool nothing = nft->none_open && counted && opened == nft->opened;
    nft->none_open = counted;
    nft->opened = counted ? opened : 0;
    return nothing;
}

/* For those who came while another walk was under way, which may have passed their flows already. */
static void start_walk(struct nft *nft)
{
    struct flow_walk_hooks hooks = {.ctx = nft, .choose = choose_cut, .over = walk_over};
    struct why why = {""};
    nft->waiting = nft->late;
    nft->late = NULL;
    const struct nft_policy *before = nft->is_settled ? &nft->policy : &nft->settled;
    if (nft->has_settled && !nft->revoked_since && !takes_away(before, &nft->policy)) {
        walk_over(nft, 0, &why);
        return;
    }
    nft->has_settled = nft->revoked_since = false; /* until this one is over */
    if (nothing_open(nft)) {
        walk_over(nft, 0, &why);
        return;
    }
    if (nft->no_flows) {
        int error = nft->no_sockets ? 0 : end_by_sockets(nft, &why);
        walk_over(nft, error, &why);
        return;
    }
    unsigned delay_ms = nft->is_first && nft->was_quiet ? QUIET_START_MS : 0;
    nft->was_quiet = false;
    int error = nft->is_first && !nft->no_sockets ? judge_older(nft, &why) : 0;
    if (!error)
        error = flow_walk_start(nft->settings->mailbox, &hooks, delay_ms, &nft->walk, &why);
    if (error)
        walk_over(nft, error, &why);
}

/* Before the sandbox gets its first answer. */
static int forget_dns(struct nft *nft, struct why *why)
{
    _cleanup_buf_ struct buf flows = {0};
    int error = flows_find_dns(nft->conn, &flows, why);
    if (!error)
        error = flows_forget(nft->conn, &flows, why);
    if (!error)
        nft->dns_looks--;
    return error;
}

void nft_settle(struct nft *nft, nft_settled *done, void *ctx)
{
    struct why why = {"out of memory"};
    int error = nft->dns_looks == DNS_LOOKS ? forget_dns(nft, &why) : 0;
    struct waiter *waiter = nft_refuses(nft->settings) && !error ? malloc(sizeof(*waiter)) : NULL;
    if (!waiter) {
        done(ctx, error || !nft_refuses(nft->settings) ? error : -ENOMEM, &why);
        return;
    }
    *waiter = (struct waiter){.next = nft->late, .done = done, .ctx = ctx};
    nft->late = waiter;
    if (!nft->walk)
        start_walk(nft);
}

static void dns_walk_over(void *ctx, int error, const struct why *why)
{
    struct nft *nft = ctx;
    nft->dns_walk = NULL;
    if (!error && nft->dns_looks)
        nft->dns_looks--;
}

void nft_look_for_dns(struct nft *nft)
{
    struct flow_walk_hooks hooks = {.ctx = nft, .over = dns_walk_over};
    if (nft->dns_looks && !nft->dns_walk && nft->settings->mailbox)
        flow_walk_start(nft->settings->mailbox, &hooks, 0, &nft->dns_walk, NULL);
}

/* --- previews --- */

struct nft_flow_preview {
    struct nft *nft;
    struct nft_preview what;
    struct flow_walk *walk;
};

static int report_flows(void *ctx, struct buf *flows, struct why *why)
{
    const struct nft_flow_preview *preview = ctx;
    const struct nft *nft = preview->nft;
    const struct nft_preview *what = &preview->what;
    struct inspection inspection = {.settings = nft->settings,
                                    .changes = nft->changes,
                                    .old = &nft->policy,
                                    .new = &what->policy,
                                    .allowed = what->still_allowed,
                                    .ctx = what->ctx,
                                    .now_ns = clock_monotonic_ns()};
    const struct flow *flow = (const struct flow *)flows->data;
    for (size_t left = flows->len / sizeof(*flow); left > 0; left--, flow++)
        if ((flow->protocol == IPPROTO_TCP || flow->protocol == IPPROTO_UDP) && !flow->over &&
            inspect_flow(&inspection, flow))
            what->report_flow(what->ctx, flow->protocol, &flow->peer);
    buf_clear(flows); /* none is ended */
    return 0;
}

static void preview_over(void *ctx, int error, const struct why *why)
{
    struct nft_flow_preview *preview = ctx;
    struct nft_preview what = preview->what;
    preview->nft->preview = NULL;
    free(preview);
    what.done(what.ctx, error, why);
}

void nft_preview_flows(struct nft *nft, const struct nft_preview *what)
{
    struct why why = {"out of memory"};
    assert(!nft->preview);
    struct nft_flow_preview *preview = nft_refuses(nft->settings) ? calloc(1, sizeof(*preview)) : NULL;
    if (!preview) {
        what->done(what->ctx, nft_refuses(nft->settings) ? -ENOMEM : 0, &why);
        return;
    }
    *preview = (struct nft_flow_preview){.nft = nft, .what = *what};
    nft->preview = preview;
    struct flow_walk_hooks hooks = {.ctx = preview, .choose = report_flows, .over = preview_over};
    int error = flow_walk_start(nft->settings->mailbox, &hooks, 0, &preview->walk, &why);
    if (error)
        preview_over(preview, error, &why);
}

void nft_walks_free(struct nft *nft)
{
    flow_walk_free(nft->walk);
    flow_walk_free(nft->dns_walk);
    if (nft->preview)
        flow_walk_free(nft->preview->walk);
    free(nft->preview);
    struct waiter *lists[] = {nft->waiting, nft->late}, *next;
    for (size_t i = 0; i < 2; i++) {
        for (struct waiter *waiter = lists[i]; waiter; waiter = next) {
            next = waiter->next;
            free(waiter);
        }
    }
}
