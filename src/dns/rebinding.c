#include "dns/rebinding.h"

static bool leads_inside(const struct rebinding *rebinding, const struct ip_addr *addr)
{
    return ip_is_special(addr) || own_addresses_have(rebinding->own, addr);
}

static bool is_denied(const struct rebinding *rebinding, const struct ip_addr *addr)
{
    struct decision decision = policy_decide_addr(rebinding->layers, addr);
    return decision.rule && decision.action == ACTION_DENY;
}

bool rebinding_refuses(const struct rebinding *rebinding, const struct ip_addr *addr)
{
    struct ip_addr v4;
    bool leads_in = ip_leads_to(addr, &v4) && (leads_inside(rebinding, &v4) || is_denied(rebinding, &v4));
    if (!leads_in && !leads_inside(rebinding, addr))
        return false;
    struct decision decision = policy_decide_addr(rebinding->layers, addr);
    return decision.action == ACTION_DENY || !decision.rule;
}

static void look_at(void *ctx, const struct ip_addr *addr)
{
    struct rebinding *rebinding = ctx;
    if (!rebinding_refuses(rebinding, addr))
        return;
    if (rebinding->n_refused < REBINDING_SHOWN_MAX)
        rebinding->refused[rebinding->n_refused] = *addr;
    rebinding->n_refused++;
}

int rebinding_scan(struct rebinding *rebinding, const uint8_t *msg, size_t len, size_t question_end)
{
    rebinding->n_refused = 0;
    return dns_answer_each_address(msg, len, question_end, look_at, rebinding);
}

size_t rebinding_filter(const struct rebinding *rebinding, struct dns_found *found, size_t n)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++)
        if (!rebinding_refuses(rebinding, &found[i].addr))
            found[kept++] = found[i];
    return kept;
}
