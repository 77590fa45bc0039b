#include "policy/policy.h"

#include "base/cleanup.h"
#include "base/ip_ranges.h"
#include "policy/domain_index.h"
#include "policy/prefix_index.h"

#include <errno.h>
#include <stdatomic.h>

struct policy {
    atomic_uint references;
    enum action default_action;
    struct rule_list *rules;
    struct domain_index names;
    struct prefix_index addresses;
    struct ip_ranges ranges[2]; /* by action */
};

static void policy_free(struct policy *policy)
{
    for (size_t i = 0; i < 2; i++)
        ip_ranges_done(&policy->ranges[i]);
    prefix_index_done(&policy->addresses);
    domain_index_done(&policy->names);
    rule_list_free(policy->rules);
    free(policy);
}

static int build_ranges(const struct rule_list *rules, enum action action, struct ip_ranges *ret)
{
    size_t n = 0, count = rule_list_count(rules);
    _cleanup_free_ struct ip_prefix *prefixes = calloc(count ? count : 1, sizeof(*prefixes));
    if (!prefixes)
        return -ENOMEM;
    for (size_t i = 0; i < count; i++) {
        const struct rule *rule = rule_list_at(rules, i);
        if (rule->kind == TARGET_PREFIX && rule->action == action)
            prefixes[n++] = rule->prefix;
    }
    return ip_ranges_build(prefixes, n, ret);
}

static int compile(struct policy *policy)
{
    int error = domain_index_init(&policy->names, policy->rules);
    if (!error)
        error = prefix_index_init(&policy->addresses, policy->rules);
    if (!error)
        error = build_ranges(policy->rules, ACTION_DENY, &policy->ranges[ACTION_DENY]);
    if (!error)
        error = build_ranges(policy->rules, ACTION_ALLOW, &policy->ranges[ACTION_ALLOW]);
    return error;
}

int policy_new(enum action default_action, struct rule_list *list, struct policy **ret)
{
    struct policy *policy = calloc(1, sizeof(*policy));
    if (!policy) {
        rule_list_free(list);
        return -ENOMEM;
    }
    atomic_init(&policy->references, 1);
    policy->default_action = default_action;
    policy->rules = list;
    int error = compile(policy);
    if (error) {
        policy_free(policy);
        return error;
    }
    *ret = policy;
    return 0;
}

struct policy *policy_ref(struct policy *policy)
{
    atomic_fetch_add_explicit(&policy->references, 1, memory_order_relaxed);
    return policy;
}

void policy_unref(struct policy *policy)
{
    /* Whoever frees must have seen all that the others did with it. */
    if (policy && atomic_fetch_sub_explicit(&policy->references, 1, memory_order_acq_rel) == 1)
        policy_free(policy);
}

enum action policy_default(const struct policy *policy)
{
    return policy->default_action;
}

size_t policy_count(const struct policy *policy)
{
    return rule_list_count(policy->rules);
}

int policy_check_count(size_t count, size_t max_rules, struct why *why)
{
    if (!max_rules || count <= max_rules)
        return 0;
    return why_set(why, -E2BIG, "egress rule total count %zu exceeds limit %zu", count, max_rules);
}

const struct rule *policy_rule(const struct policy *policy, size_t i)
{
    return rule_list_at(policy->rules, i);
}

const char *policy_mode(const struct policy *policy)
{
    if (policy_count(policy))
        return "enforcing";
    return policy->default_action == ACTION_ALLOW ? "allow_all" : "deny_all";
}

struct ip_ranges policy_ranges(const struct policy *policy, enum action action)
{
    return policy->ranges[action];
}

const struct rule *policy_match_name(const struct policy *policy, const uint8_t *wire, size_t len)
{
    uint32_t position = domain_index_find(&policy->names, wire, len);
    return position == RULE_NONE ? NULL : policy_rule(policy, position);
}

const struct rule *policy_match_addr(const struct policy *policy, const struct ip_addr *addr)
{
    uint32_t position;
    struct ip_addr v4;
    const struct rule *rule =
        prefix_index_find(&policy->addresses, addr, &position) ? policy_rule(policy, position) : NULL;
    if ((!rule || rule->action == ACTION_ALLOW) && ip_embedded(addr, &v4) &&
        prefix_index_find(&policy->addresses, &v4, &position) && policy_rule(policy, position)->action == ACTION_DENY)
        return policy_rule(policy, position);
    return rule;
}
