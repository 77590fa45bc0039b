#include "nft/inspect.h"

#include "base/ip_ranges.h"
#include "base/loop.h"
#include "nft/cut.h"

static void fill(const struct lease *lease, enum lease_state state, uint64_t now_ns, struct lease_info *ret)
{
    ret->addr = lease->addr;
    ret->state = state;
    ret->seconds_left = (uint32_t)((lease->expires_ns - now_ns) / NS_PER_S);
    names_text(&lease->names, ret->names, sizeof(ret->names));
}

void inspect_lease(const struct changes *changes, const struct ip_addr *addr, uint64_t now_ns, struct lease_info *ret)
{
    const struct {
        enum timed_set set;
        enum lease_state state;
    } places[] = {{revoked_set(addr->family), LEASE_REVOKED}, {allow_set(addr->family), LEASE_LEARNED}};
    *ret = (struct lease_info){.addr = *addr};
    for (size_t i = 0; i < 2; i++) {
        const struct lease *lease = leases_find(changes_leases(changes, places[i].set), addr);
        if (lease && lease->expires_ns > now_ns) {
            fill(lease, places[i].state, now_ns, ret);
            return;
        }
    }
}

size_t inspect_leases(const struct changes *changes, size_t max,
                      void (*report)(void *ctx, const struct lease_info *lease), void *ctx, uint64_t now_ns)
{
    size_t n = 0;
    for (enum timed_set set = 0; set < N_TIMED_SETS; set++) {
        struct leases *leases = changes_leases(changes, set);
        size_t cursor = 0;
        n += leases_count(leases);
        for (struct lease *lease; max && (lease = leases_next(leases, &cursor));) {
            if (lease->expires_ns <= now_ns) {
                n--;
                continue;
            }
            struct lease_info info;
            fill(lease, set < REVOKED_V4 ? LEASE_LEARNED : LEASE_REVOKED, now_ns, &info);
            report(ctx, &info);
            max--;
        }
    }
    return n;
}

/* What rules for addresses say. */
enum verdict { NO_RULE, REFUSED, PASSES };

static enum verdict by_address(const struct nft_policy *policy, const struct ip_addr *addr)
{
    if (ip_ranges_refuse(&policy->always_deny, addr))
        return REFUSED;
    if (ip_ranges_contain(&policy->always_allow, addr))
        return PASSES;
    if (ip_ranges_refuse(&policy->deny, addr))
        return REFUSED;
    return ip_ranges_contain(&policy->allow, addr) ? PASSES : NO_RULE;
}

/* As revoke_denied() sees it: names are denied, and no other carries the address. */
static bool loses_its_names(struct lease *lease, names_allowed *allowed, void *ctx, uint64_t now_ns)
{
    bool any_denied;
    uint64_t until = names_mark_denied(&lease->names, now_ns, allowed, ctx, &any_denied);
    names_unmark(&lease->names);
    return any_denied && !until;
}

void inspect_revocation(const struct changes *changes, const struct nft_policy *old, const struct nft_policy *new,
                        names_allowed *allowed, void (*report)(void *ctx, const struct lease_info *lease), void *ctx,
                        uint64_t now_ns)
{
    static const enum timed_set learned[] = {ALLOW_V4, ALLOW_V6};
    for (size_t s = 0; s < 2; s++) {
        size_t cursor = 0;
        for (struct lease *lease; (lease = leases_next(changes_leases(changes, learned[s]), &cursor));) {
            if (lease->expires_ns <= now_ns || by_address(old, &lease->addr) == REFUSED)
                continue;
            enum verdict verdict = by_address(new, &lease->addr);
            if (verdict == REFUSED || (verdict == NO_RULE && loses_its_names(lease, allowed, ctx, now_ns))) {
                struct lease_info info;
                fill(lease, LEASE_LEARNED, now_ns, &info);
                report(ctx, &info);
            }
        }
    }
}

static struct lease *alive(const struct inspection *inspection, enum timed_set set, const struct ip_addr *addr)
{
    struct lease *lease = leases_find(changes_leases(inspection->changes, set), addr);
    return lease && lease->expires_ns > inspection->now_ns ? lease : NULL;
}

bool inspect_flow(const struct inspection *inspection, const struct flow *flow)
{
    struct ip_addr addr = sock_addr_ip(&flow->peer);
    enum verdict before = by_address(inspection->old, &addr), after = by_address(inspection->new, &addr);
    if (cut_spares(inspection->settings, flow) || before == REFUSED || after == PASSES ||
        alive(inspection, revoked_set(addr.family), &addr))
        return false;
    if (after == REFUSED)
        return true;
    struct lease *lease = alive(inspection, allow_set(addr.family), &addr);
    if (lease)
        return loses_its_names(lease, inspection->allowed, inspection->ctx, inspection->now_ns);
    return (before == PASSES || inspection->old->default_allow) && !inspection->new->default_allow;
}
