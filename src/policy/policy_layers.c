/* Several policies over one another: the always files and the policy of the API. */
#include "policy/policy.h"

#define N_LAYERS 3

struct decision policy_decide(const struct policy_layers *layers, const uint8_t *wire, size_t len)
{
    const struct policy *strongest_first[N_LAYERS] = {layers->deny_always, layers->allow_always, layers->policy};
    for (int layer = 0; layer < N_LAYERS; layer++) {
        const struct rule *rule = strongest_first[layer] ? policy_match_name(strongest_first[layer], wire, len) : NULL;
        if (rule)
            return (struct decision){rule->action, (enum layer)layer, rule};
    }
    return (struct decision){policy_default(layers->policy), LAYER_POLICY, NULL};
}

struct decision policy_decide_addr(const struct policy_layers *layers, const struct ip_addr *addr)
{
    const struct policy *strongest_first[N_LAYERS] = {layers->deny_always, layers->allow_always, layers->policy};
    for (int layer = 0; layer < N_LAYERS; layer++) {
        const struct rule *rule = strongest_first[layer] ? policy_match_addr(strongest_first[layer], addr) : NULL;
        if (rule)
            return (struct decision){rule->action, (enum layer)layer, rule};
    }
    return (struct decision){policy_default(layers->policy), LAYER_POLICY, NULL};
}
