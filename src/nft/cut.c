#include "nft/cut.h"

#include "base/ip_ranges.h"
#include "base/loop.h"
#include "nft/nft_policy.h"
#include "nft/ports.h"

/* Of flows to one address, thousands may be ended one after the other. */
#define RENEWED_NS (10 * NS_PER_S)

/* Whether the address is among the revoked. */
static bool is_revoked(const struct cut *cut, const struct ip_addr *addr)
{
    const struct lease *lease = leases_find(changes_leases(cut->changes, revoked_set(addr->family)), addr);
    return lease && (lease_is_held(lease) || lease->expires_ns > cut->now_ns); /* held: by this transaction */
}

/* Refused by a rule that stands before "established". */
static bool is_refused(const struct cut *cut, const struct ip_addr *addr)
{
    return nft_policy_denies(cut->now, addr) ||
           (!ip_ranges_contain(&cut->now->always_allow, addr) && is_revoked(cut, addr));
}

static bool is_allowed(const struct cut *cut, const struct ip_addr *addr)
{
    return cut->now->default_allow || ip_ranges_contain(&cut->now->always_allow, addr) ||
           ip_ranges_contain(&cut->now->allow, addr) ||
           leases_find(changes_leases(cut->changes, allow_set(addr->family)), addr);
}

static bool was_allowed(const struct cut *cut, const struct ip_addr *addr)
{
    return cut->before->default_allow || ip_ranges_contain(&cut->before->always_allow, addr) ||
           ip_ranges_contain(&cut->before->allow, addr);
}

static bool is_resolver(const struct nft_settings *settings, const struct sock_addr *peer)
{
    struct ip_addr addr = sock_addr_ip(peer);
    for (size_t i = 0; i < settings->n_upstreams; i++)
        if (sock_addr_equal(&settings->upstreams[i], peer))
            return true;
    for (size_t i = 0; i < settings->n_exempt; i++)
        if (sock_addr_port(peer) == PORT_DNS && ip_equal(&settings->exempt[i], &addr))
            return true;
    return false;
}

bool cut_spares(const struct nft_settings *settings, const struct flow *flow)
{
    return is_resolver(settings, &flow->peer) ||
           /* From before the redirect, which takes its next question. */
           (flow->protocol == IPPROTO_UDP && sock_addr_port(&flow->peer) == PORT_DNS);
}

bool cut_wants(const struct cut *cut, const struct flow *flow)
{
    struct ip_addr addr = sock_addr_ip(&flow->peer);
    if (cut_spares(cut->settings, flow))
        return false;
    return is_refused(cut, &addr) || (!is_allowed(cut, &addr) && was_allowed(cut, &addr));
}

bool cut_allows(const struct cut *cut, const struct ip_addr *peer)
{
    return !is_refused(cut, peer) && is_allowed(cut, peer);
}

int cut_refuse(struct cut *cut, const struct flow *flow)
{
    struct ip_addr peer = sock_addr_ip(&flow->peer);
    enum timed_set set = revoked_set(peer.family);
    uint64_t until = cut->now_ns + REVOKED_S * NS_PER_S;
    struct lease *lease =
        leases_find(changes_leases(cut->changes, set), &peer); /* over, but not yet forgotten, maybe */
    if (lease && (lease_is_held(lease) || lease->expires_ns + RENEWED_NS > until))
        return 0;
    if (flow->protocol == IPPROTO_TCP && is_refused(cut, &peer)) /* TCP tells who opens a connection */
        return 0;
    return lease ? changes_renew(cut->changes, set, lease, until)
                 : changes_add(cut->changes, set, &peer, until, &lease);
}
