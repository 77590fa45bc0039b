/* Several policies over one another: the always files and the policy of the API. */
#include "policy/policy.h"

#define N_LAYERS 3

struct policy_layers policy_layers_ref(const struct policy_layers *layers)
{
    return (struct policy_layers){
        .deny_always = layers->deny_always ? policy_ref(layers->deny_always) : NULL,
        .allow_always = layers->allow_always ? policy_ref(layers->allow_always) : NULL,
        .policy = layers->policy ? policy_ref(layers->policy) : NULL,
    };
}

void policy_layers_unref(struct policy_layers *layers)
{
    policy_unref(layers->deny_always);
    policy_unref(layers->allow_always);
    policy_unref(layers->policy);
}

bool policy_layers_same(const struct policy_layers *a, const struct policy_layers *b)
{
    return a->deny_always == b->deny_always && a->allow_always == b->allow_always && a->policy == b->policy;
}

const char *layer_name(enum layer layer)
{
    static const char *const names[N_LAYERS] = {"deny_always", "allow_always", "policy"};
    return names[layer];
}

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
