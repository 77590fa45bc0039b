/* What a change does to the list of rules. */
#include "base/cleanup.h"
#include "policy/policy.h"

#include <errno.h>
#include <string.h>

/* Zero when both mean the same. */
static int compare_meaning(const struct rule *a, const struct rule *b)
{
    if (a->kind != b->kind)
        return a->kind < b->kind ? -1 : 1;
    if (a->action != b->action)
        return a->action < b->action ? -1 : 1;
    if (a->kind == TARGET_PREFIX)
        return memcmp(&a->prefix, &b->prefix, sizeof(a->prefix));
    if (a->name_len != b->name_len)
        return a->name_len < b->name_len ? -1 : 1;
    return a->name_len ? memcmp(a->name, b->name, a->name_len) : 0;
}

/* Equal rules of one policy in the order of the list. */
static int compare(const void *x, const void *y)
{
    const struct rule *a = *(const struct rule *const *)x, *b = *(const struct rule *const *)y;
    int meaning = compare_meaning(a, b);
    return meaning ? meaning : (a > b) - (a < b);
}

/* The rules of a policy, sorted; the caller frees. NULL when memory is short. */
static const struct rule **sorted(const struct policy *policy)
{
    size_t n = policy_count(policy);
    const struct rule **rules = calloc(n ? n : 1, sizeof(*rules));
    for (size_t i = 0; rules && i < n; i++)
        rules[i] = policy_rule(policy, i);
    if (rules)
        qsort(rules, n, sizeof(*rules), compare);
    return rules;
}

/* For each rule of `to` the one of `from` that it is, and which rules of `from` are in `to`. */
static int match(const struct policy *from, const struct policy *to, const struct rule **partner, bool *kept)
{
    _cleanup_free_ const struct rule **old = sorted(from), **new = sorted(to);
    if (!old || !new)
        return -ENOMEM;
    size_t n_old = policy_count(from), n_new = policy_count(to);
    for (size_t i = 0, j = 0; i < n_old && j < n_new;) {
        int order = compare_meaning(old[i], new[j]);
        if (!order) {
            partner[new[j] - policy_rule(to, 0)] = old[i];
            kept[old[i] - policy_rule(from, 0)] = true;
        }
        i += order <= 0;
        j += order >= 0;
    }
    return 0;
}

void policy_diff_done(struct policy_diff *diff)
{
    rule_list_free(diff->added);
    rule_list_free(diff->removed);
}

int policy_diff(const struct policy *from, const struct policy *to, struct policy_diff *ret)
{
    _cleanup_(policy_diff_done) struct policy_diff diff = {0};
    size_t n_old = policy_count(from), n_new = policy_count(to);
    _cleanup_free_ const struct rule **partner = calloc(n_new ? n_new : 1, sizeof(*partner));
    _cleanup_free_ bool *kept = calloc(n_old ? n_old : 1, sizeof(*kept));
    if (!partner || !kept || rule_list_new(&diff.added) || rule_list_new(&diff.removed))
        return -ENOMEM;
    int error = match(from, to, partner, kept);
    const struct rule *last = NULL;
    for (size_t i = 0; i < n_new && !error; i++) {
        if (!partner[i])
            error = rule_list_copy(diff.added, policy_rule(to, i));
        else {
            diff.reordered |= last && partner[i] < last;
            last = partner[i];
        }
    }
    for (size_t i = 0; i < n_old && !error; i++)
        if (!kept[i])
            error = rule_list_copy(diff.removed, policy_rule(from, i));
    if (error)
        return error;
    *ret = diff;
    diff = (struct policy_diff){0};
    return 0;
}
