/* Policies made from other policies: what PATCH and DELETE do. */
#include "base/cleanup.h"
#include "policy/hash.h"
#include "policy/policy.h"

#include <errno.h>

bool rule_same_target(const struct rule *a, const struct rule *b)
{
    if (a->kind != b->kind)
        return false;
    switch (a->kind) {
    case TARGET_ANY:
        return true;
    case TARGET_PREFIX:
        return a->prefix.bits == b->prefix.bits && ip_equal(&a->prefix.addr, &b->prefix.addr);
    case TARGET_NAME:
    case TARGET_WILDCARD:
        break;
    }
    return a->name_len == b->name_len && !memcmp(a->name, b->name, a->name_len);
}

/* Rules told apart by their targets alone. */
struct target_set {
    const struct rule **slots;
    size_t mask;
    uint64_t seed;
};

static int target_set_init(struct target_set *set, size_t most)
{
    size_t slots = 2;
    while (slots < most * 2)
        slots *= 2;
    *set = (struct target_set){.slots = calloc(slots, sizeof(*set->slots)), .mask = slots - 1, .seed = hash_seed()};
    return set->slots ? 0 : -ENOMEM;
}

static void target_set_done(struct target_set *set)
{
    free(set->slots);
}

/* The slot of the rule with this target; empty when the set has none. */
static const struct rule **target_set_find(const struct target_set *set, const struct rule *rule)
{
    uint64_t hash = set->seed + rule->kind;
    hash = rule->kind == TARGET_PREFIX ? hash_bytes(hash, &rule->prefix, sizeof(rule->prefix))
                                       : hash_bytes(hash, rule->name, rule->name_len);
    for (size_t i = hash & set->mask;; i = (i + 1) & set->mask)
        if (!set->slots[i] || rule_same_target(set->slots[i], rule))
            return &set->slots[i];
}

DEFINE_CLEANUP(struct rule_list, cleanup_rule_list, rule_list_free);

int policy_patch(const struct policy *base, const struct rule_list *patch, struct policy **ret)
{
    size_t n_patch = rule_list_count(patch), n = n_patch + policy_count(base);
    _cleanup_(target_set_done) struct target_set seen = {0};
    _cleanup_(cleanup_rule_list) struct rule_list *merged = NULL;
    int error = target_set_init(&seen, n);
    if (!error)
        error = rule_list_new(&merged);
    for (size_t i = 0; i < n && !error; i++) {
        const struct rule *rule = i < n_patch ? rule_list_at(patch, i) : policy_rule(base, i - n_patch);
        const struct rule **slot = target_set_find(&seen, rule);
        if (*slot)
            continue;
        *slot = rule;
        error = rule_list_copy(merged, rule);
    }
    return error ? error : policy_new(policy_default(base), take_pointer(merged), ret);
}

int policy_remove(const struct policy *base, const struct rule_list *targets, struct policy **ret,
                  struct rule_list **ret_removed)
{
    _cleanup_(target_set_done) struct target_set named = {0};
    _cleanup_(cleanup_rule_list) struct rule_list *kept = NULL, *removed = NULL;
    int error = target_set_init(&named, rule_list_count(targets));
    if (!error)
        error = rule_list_new(&kept);
    if (!error)
        error = rule_list_new(&removed);
    for (size_t i = 0; i < rule_list_count(targets) && !error; i++)
        *target_set_find(&named, rule_list_at(targets, i)) = rule_list_at(targets, i);
    for (size_t i = 0; i < policy_count(base) && !error; i++) {
        const struct rule *rule = policy_rule(base, i);
        error = rule_list_copy(*target_set_find(&named, rule) ? removed : kept, rule);
    }
    if (!error)
        error = policy_new(policy_default(base), take_pointer(kept), ret);
    if (!error)
        *ret_removed = take_pointer(removed);
    return error;
}
