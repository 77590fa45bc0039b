#include "nft/learn.h"

#include "base/loop.h"
#include "nft/nft_policy.h"

#include <errno.h>

#define LEASE_EXTRA_S 60
/* A lease this much shorter than a new one is not written anew: popular names are asked far more often. */
#define LEASE_TOLERANCE_S 5
/* The tolerance, and the time that an answer may be on its way. */
#define LEASE_MARGIN_S 8

uint32_t nft_lease_seconds(uint32_t ttl)
{
    return ttl > LEASE_MAX_S - LEASE_EXTRA_S ? LEASE_MAX_S : ttl + LEASE_EXTRA_S;
}

uint32_t nft_hold_seconds(uint32_t ttl)
{
    return nft_lease_seconds(ttl) - LEASE_MARGIN_S;
}

/* Whether what is left of a lease will do for another answer. */
static bool will_do(const struct lease *lease, uint64_t until)
{
    return !lease_is_held(lease) && lease->expires_ns + LEASE_TOLERANCE_S * NS_PER_S >= until;
}

uint64_t learned_until(const struct changes *changes, const struct ip_addr *addr)
{
    const struct lease *lease = leases_find(changes_leases(changes, allow_set(addr->family)), addr);
    if (!lease || leases_find(changes_leases(changes, revoked_set(addr->family)), addr))
        return 0;
    return lease->expires_ns;
}

int learn_address(struct changes *changes, const struct nft_policy *policy, const struct learned *learned,
                  uint64_t now_ns)
{
    enum timed_set set = allow_set(learned->addr.family), revoked_in = revoked_set(learned->addr.family);
    uint64_t until = now_ns + nft_lease_seconds(learned->ttl) * NS_PER_S;
    struct lease *lease = leases_find(changes_leases(changes, set), &learned->addr);
    bool is_new = !lease;
    if (is_new && changes_add(changes, set, &learned->addr, until, &lease))
        return -ENOMEM;
    /* Renewed first: that keeps the names as they are for a roll-back. */
    if (!is_new && (!names_has(&lease->names, learned->name, learned->name_len) || !will_do(lease, until))) {
        int error = changes_renew(changes, set, lease, until > lease->expires_ns ? until : lease->expires_ns);
        if (error)
            return error;
    }
    if (names_add(&lease->names, learned->name, learned->name_len, until) < 0)
        return -ENOMEM;
    struct lease *revoked = leases_find(changes_leases(changes, revoked_in), &learned->addr);
    if (!revoked || lease_is_held(revoked) || nft_policy_denies(policy, &learned->addr))
        return 0;
    return changes_drop(changes, revoked_in, revoked);
}
