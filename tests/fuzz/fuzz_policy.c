/* Bodies of the API, by their first byte: a policy, a patch, targets. What is taken can be written and read again and
 * is the same then. */
#include "policy/policy_json.h"

#include "fuzz.h"

#include <string.h>

static void same_again(struct policy *policy)
{
    struct buf once = {0}, twice = {0};
    struct why why;
    struct policy *again = NULL;
    policy_to_json(policy, &once);
    must(policy_from_json(once.data, once.len, 0, &again, &why) == 0);
    policy_to_json(again, &twice);
    must(once.len == twice.len && !memcmp(once.data, twice.data, once.len));
    policy_unref(again);
    buf_done(&once);
    buf_done(&twice);
}

static void patch(const struct rule_list *rules)
{
    struct rule_list *none = NULL;
    struct policy *base = NULL, *made = NULL;
    must(rule_list_new(&none) == 0 && policy_new(ACTION_DENY, none, &base) == 0);
    must(policy_patch(base, rules, &made) == 0);
    must(policy_count(made) <= rule_list_count(rules));
    same_again(made);
    policy_unref(base);
    policy_unref(made);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (len < 1)
        return 0;
    const char *text = (const char *)data + 1;
    struct why why = {""};
    struct policy *policy = NULL;
    struct rule_list *list = NULL;
    int error;
    if (data[0] % 3 == 0) {
        error = policy_from_json(text, len - 1, 4096, &policy, &why);
        if (!error)
            same_again(policy);
    } else if (data[0] % 3 == 1) {
        error = rules_from_json(text, len - 1, &list, &why);
        if (!error)
            patch(list);
    } else {
        error = targets_from_json(text, len - 1, &list, &why);
    }
    must(!error || (why.text[0] && !strchr(why.text, '\n')));
    policy_unref(policy);
    rule_list_free(list);
    return 0;
}
