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
    bool learned;   /* among them that which changes learned addresses: it is rolled back no more */
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
        progress->learned |= !error && i == steps->learned;
    }
    if (error && !progress->learned)
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

/* What holds is between two policies: the whole table anew with the old one, now or as soon as nft_keep() can. */
static void go_back(struct nft *nft)
{
    nft->damaged = true;
    nft->harm.text[0] = '\0';
    nft_install(nft, &nft->policy, NULL);
}

static bool no_name(void *ctx, const uint8_t *name, size_t len)
{
    return false;
}

/* The same, with addresses learned as the new one wants. Which of their names the old one allows is not known here:
 * none is open until its name is asked for again. */
static void go_back_unlearned(struct nft *nft)
{
    if (revoke_denied(nft->conn, nft->changes, &nft->policy, no_name, NULL, clock_monotonic_ns()) ||
        changes_make_room(nft->changes)) {
        changes_roll_back(nft->changes);
    } else {
        nft->revoked_since |= changes_revoke(nft->changes);
        changes_commit(nft->changes); /* the table that comes shows all of them */
    }
    go_back(nft);
}

/* The new policy as a whole, for one that only came in part. */
static int put_whole(struct nft *nft, const struct nft_policy *policy, struct why *why)
{
    int error = install_tables(&nft->install, nft->conn, nft->settings, policy, nft->changes, why);
    metric_add(nft->settings->metrics, error ? METRIC_NFT_ERRORS : METRIC_NFT_UPDATES, 1);
    if (error)
        go_back_unlearned(nft);
    else
        nft->damaged = false;
    return error;
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
    if ((error == -EEXIST || error == -ENOENT) && !progress.learned)
        error = apply(nft, policy, still_allowed, ctx, true, &progress, why);
    bool is_whole = error && progress.learned;
    if (is_whole)
        error = put_whole(nft, &copy, why);
    else if (error && progress.n_steps)
        go_back(nft);
    if (error) {
        nft_policy_done(&copy);
        return error;
    }
    bool default_changed = nft->policy.default_allow != policy->default_allow;
    nft_set_policy(nft, &copy);
    nft_tell_rules(nft);
    if (default_changed || is_whole)
        nft_remember_table(nft);
    return 0;
}
