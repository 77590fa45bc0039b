#include "api/current.h"

#include "policy/policy_json.h"

#include <errno.h>

void current_set(struct current *current, struct policy *policy)
{
    struct policy *old = current->policy;
    current->policy = policy_ref(policy);
    policy_unref(old);
    buf_done(&current->json);
}

void current_done(struct current *current)
{
    policy_unref(current->policy);
    current->policy = NULL;
    buf_done(&current->json);
}

int current_render(struct current *current)
{
    if (current->json.len)
        return 0;
    struct buf json = {0};
    policy_to_json(current->policy, &json);
    if (json.failed) {
        buf_done(&json);
        return -ENOMEM;
    }
    current->json = json;
    etag_make(json.data, json.len, current->etag);
    return 0;
}
