/* An always file; the first byte says whether names alone may stand in it. */
#include "policy/rule_file.h"

#include "fuzz.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (len < 1)
        return 0;
    struct why why = {""};
    struct policy *policy = NULL;
    int error =
        rule_file_parse("/rules/deny.always", (const char *)data + 1, len - 1, ACTION_DENY, data[0] & 1, &policy, &why);
    must(!error || (!strncmp(why.text, "/rules/deny.always:", 19) && !strchr(why.text, '\n')));
    for (size_t i = 0; policy && i < policy_count(policy); i++)
        must(!(data[0] & 1) || policy_rule(policy, i)->kind != TARGET_PREFIX);
    policy_unref(policy);
    return 0;
}
