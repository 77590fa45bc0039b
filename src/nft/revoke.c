#include "nft/revoke.h"

#include "base/ip_ranges.h"
#include "base/loop.h"
#include "nft/ended.h"
#include "nft/nft_policy.h"

#include <errno.h>

struct revocation {
    struct conn *conn;
    struct changes *changes;
    const struct nft_policy *policy;
    names_allowed *allowed;
    void *ctx;
    uint64_t now_ns;
};

/* The policy allows the address itself, whatever names led to it. */
static bool allowed_by_address(const struct nft_policy *policy, const struct ip_addr *addr)
{
    return ip_ranges_contain(&policy->always_allow, addr) || ip_ranges_contain(&policy->allow, addr);
}

static int refuse(struct revocation *revocation, const struct lease *lease)
{
    struct changes *changes = revocation->changes;
    enum timed_set set = revoked_set(lease->addr.family);
    struct lease *revoked = leases_find(changes_leases(changes, set), &lease->addr);
    uint64_t until = revocation->now_ns + REVOKED_S * NS_PER_S;
    if (revoked)
        return changes_renew(changes, set, revoked, until);
    if (changes_add(changes, set, &lease->addr, until, &revoked) || names_copy(&lease->names, &revoked->names))
        return -ENOMEM;
    names_unmark(&revoked->names);
    return 0;
}

/* Names that are allowed hold as long as a connection that prolonged this lease, whatever became of their own: until
 * then, or 0. */
static uint64_t prolonged(struct revocation *revocation, struct lease *lease)
{
    bool any_denied;
    if (!names_mark_denied(&lease->names, 0, revocation->allowed, revocation->ctx, &any_denied))
        return 0;
    uint64_t until = ended_ask_one(revocation->conn, lease, revocation->now_ns);
    if (until) {
        names_prolong(&lease->names, until);
        /* As it is in the kernel, whatever becomes of the transaction. */
        struct leases *leases = changes_leases(revocation->changes, allow_set(lease->addr.family));
        leases_hold(leases, lease);
        leases_release(leases, lease, until);
    }
    return until;
}

static int judge_learned(struct revocation *revocation, enum timed_set set, struct lease *lease)
{
    bool any_denied;
    uint64_t until =
        names_mark_denied(&lease->names, revocation->now_ns, revocation->allowed, revocation->ctx, &any_denied);
    if (!any_denied)
        return 0;
    uint64_t longer = prolonged(revocation, lease);
    if (longer)
        until = longer;
    if (until)
        return changes_renew(revocation->changes, set, lease, until < lease->expires_ns ? until : lease->expires_ns);
    if (!allowed_by_address(revocation->policy, &lease->addr)) {
        int error = refuse(revocation, lease);
        if (error)
            return error;
    }
    return changes_drop(revocation->changes, set, lease);
}

/* What is left of its lease, as far as allowed names gave it: a change that is taken back at once has taken nothing. */
static int give_back(struct revocation *revocation, const struct lease *revoked, uint64_t until)
{
    enum timed_set set = allow_set(revoked->addr.family);
    struct lease *lease = leases_find(changes_leases(revocation->changes, set), &revoked->addr);
    if (lease)
        return 0;
    if (changes_add(revocation->changes, set, &revoked->addr, until, &lease))
        return -ENOMEM;
    return names_copy(&revoked->names, &lease->names);
}

/* Whether it was learned, and an allowed name still holds. */
static bool is_kept(const struct revocation *revocation, const struct ip_addr *addr)
{
    bool any_denied;
    struct lease *lease = leases_find(changes_leases(revocation->changes, allow_set(addr->family)), addr);
    return lease &&
           names_mark_denied(&lease->names, revocation->now_ns, revocation->allowed, revocation->ctx, &any_denied) != 0;
}

static int judge_revoked(struct revocation *revocation, enum timed_set set, struct lease *lease)
{
    bool any_denied;
    bool any_allowed = names_mark_denied(&lease->names, 0, revocation->allowed, revocation->ctx, &any_denied) != 0;
    uint64_t until =
        names_mark_denied(&lease->names, revocation->now_ns, revocation->allowed, revocation->ctx, &any_denied);
    names_unmark(&lease->names);
    if (nft_policy_denies(revocation->policy, &lease->addr)) /* and what its far end sends stays out */
        return 0;
    /* Without a name: an address that a policy had allowed as such, or had denied whatever its names. */
    bool open = !lease->names.len && (revocation->policy->default_allow || is_kept(revocation, &lease->addr));
    if (!open && !any_allowed && !allowed_by_address(revocation->policy, &lease->addr))
        return 0;
    int error = until ? give_back(revocation, lease, until) : 0;
    return error ? error : changes_drop(revocation->changes, set, lease);
}

static int for_each_lease(struct revocation *revocation, enum timed_set set,
                          int (*judge)(struct revocation *, enum timed_set, struct lease *))
{
    size_t cursor = 0;
    for (struct lease *lease; (lease = leases_next(changes_leases(revocation->changes, set), &cursor));) {
        int error = judge(revocation, set, lease);
        if (error)
            return error;
    }
    return 0;
}

int revoke_denied(struct conn *conn, struct changes *changes, const struct nft_policy *policy, names_allowed *allowed,
                  void *ctx, uint64_t now_ns)
{
    struct revocation revocation = {
        .conn = conn, .changes = changes, .policy = policy, .allowed = allowed, .ctx = ctx, .now_ns = now_ns};
    /* Those revoked earlier first: the second walk adds to the same sets. */
    int error = for_each_lease(&revocation, REVOKED_V4, judge_revoked);
    if (!error)
        error = for_each_lease(&revocation, REVOKED_V6, judge_revoked);
    if (!error)
        error = for_each_lease(&revocation, ALLOW_V4, judge_learned);
    if (!error)
        error = for_each_lease(&revocation, ALLOW_V6, judge_learned);
    return error;
}
