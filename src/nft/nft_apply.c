/* The part of nft.h that goes from one policy to another. */
#include "base/loop.h"
#include "nft/ended.h"
#include "nft/nft_state.h"
#include "nft/plan.h"
#include "nft/revoke.h"
#include "nft/steps.h"

#include <errno.h>
#include <string.h>

/* How far it came. */
struct progress {
    size_t n_steps; /* transactions that the kernel took */
    bool in_force;  /* among them that after which the new policy decides */
};

/* Collects what becomes of learned and revoked addresses. */
static int judge_leases(struct nft *nft, const struct nft_policy *policy, names_allowed *still_allowed, void *ctx,
                        uint64_t now_ns, struct why *why)
{
    int error = ended_settle(nft->conn, nft->changes, ENDED_PER_CHANGE, now_ns);
    if (!error)
        error = revoke_denied(nft->conn, nft->changes, policy, still_allowed, ctx, now_ns);
    if (!error)
        error = changes_make_room(nft->changes);
    if (!error)
        return 0;
    changes_roll_back(nft->changes);
    return why_set(why, error, "cannot revoke addresses: %s", strerror(-error));
}

static int take_steps(struct nft *nft, const struct steps *steps, bool whole, uint64_t now_ns,
                      struct progress *progress, struct why *why)
{
    _cleanup_batch_ struct batch *batch = NULL;
    int error = batch_new(&batch) ? why_set(why, -ENOMEM, "out of memory") : 0;
    const struct nft_policy *from = &nft->policy;
    for (size_t i = 0; i < steps->n && !error; from = &steps->to[i++]) {
        batch_begin(batch);
        plan_policy(batch, nft->settings, from, &steps->to[i], whole);
        if (i == steps->learned)
            error = nft_commit_changes(nft, batch, now_ns, why);
        else
            error = nft_commit(nft, batch, why);
        progress->n_steps += !error;
        progress->in_force |= !error && i == steps->learned;
    }
    if (error && !progress->in_force)
        changes_roll_back(nft->changes);
    return error;
}

static int apply(struct nft *nft, const struct nft_policy *policy, names_allowed *still_allowed, void *ctx, bool whole,
                 struct progress *progress, struct why *why)
{
    struct steps steps;
    uint64_t now_ns = clock_monotonic_ns();
    int error = judge_leases(nft, policy, still_allowed, ctx, now_ns, why);
    if (error)
        return error;
    if (steps_plan(&nft->policy, policy, changes_count(nft->changes) > 0, &steps)) {
        changes_roll_back(nft->changes);
        return why_set(why, -ENOMEM, "out of memory");
    }
    error = take_steps(nft, &steps, whole, now_ns, progress, why);
    steps_done(&steps);
    return error;
}

/* What holds is between two policies: the whole table anew, now or as soon as nft_keep() can. */
static void start_over(struct nft *nft)
{
    nft->damaged = true;
    nft->harm.text[0] = '\0';
    nft_install(nft, &nft->policy, NULL);
}

int nft_apply(struct nft *nft, const struct nft_policy *policy, names_allowed *still_allowed, void *ctx,
              struct why *why)
{
    struct nft_policy copy;
    struct progress progress = {0};
    if (!nft->settings->filter)
        return 0;
    if (nft_policy_copy(policy, &copy))
        return why_set(why, -ENOMEM, "out of memory");
    int error = apply(nft, policy, still_allowed, ctx, false, &progress, why);
    /* Somebody changed the sets: not from what we made, then. */
    if ((error == -EEXIST || error == -ENOENT) && !progress.in_force)
        error = apply(nft, policy, still_allowed, ctx, true, &progress, why);
    if (error && !progress.in_force) {
        nft_policy_done(&copy);
        if (progress.n_steps)
            start_over(nft);
        return error;
    }
    bool default_changed = nft->policy.default_allow != policy->default_allow;
    nft_set_policy(nft, &copy);
    nft_tell_rules(nft);
    if (error)
        start_over(nft);
    else if (default_changed)
        nft_remember_table(nft);
    return 0;
}
