#include "policy/policy_json.h"

#include "base/cleanup.h"
#include "base/text.h"
#include "policy/json_text.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <string.h>
#include <strings.h>

DEFINE_CLEANUP(cJSON, cleanup_json, cJSON_Delete);
DEFINE_CLEANUP(struct rule_list, cleanup_rule_list, rule_list_free);

/* An element of an array, for messages: `egress[3]`, or `[3]` when the array is the whole document. */
struct place {
    const char *array;
    size_t i;
};

static const char *type_name(const cJSON *item)
{
    switch (item->type & 0xff) {
    case cJSON_False:
        return "false";
    case cJSON_True:
        return "true";
    case cJSON_NULL:
        return "null";
    case cJSON_Number:
        return "a number";
    case cJSON_String:
        return "a string";
    case cJSON_Array:
        return "an array";
    default:
        return "an object";
    }
}

/* `text` must not be blank. */
static int parse(const char *text, size_t len, cJSON **ret, struct why *why)
{
    int error = json_text_check(text, len, why);
    if (error)
        return error;
    /* A copy with a NUL at its end: cJSON looks one byte beyond a text that breaks off (CVE-2023-53154), and then says
     * itself whether something follows the document. */
    _cleanup_buf_ struct buf copy = {0};
    buf_append(&copy, text, len);
    if (copy.failed)
        return -ENOMEM;
    const char *end = copy.data;
    cJSON *root = cJSON_ParseWithLengthOpts(copy.data, copy.len + 1, &end, true);
    if (!root) {
        size_t at = (size_t)(end - copy.data);
        if (at >= len)
            return why_set(why, -EINVAL, "not valid JSON: the text breaks off at byte %zu", len);
        return why_set(why, -EINVAL, "not valid JSON at byte %zu, near \"%.20s\"", at, end);
    }
    *ret = root;
    return 0;
}

static bool is_blank(const char *text, size_t len)
{
    text_trim(text, &len);
    return len == 0;
}

static bool parse_action(const char *text, enum action *ret)
{
    size_t len = strlen(text);
    text = text_trim(text, &len);
    if (len == 0 || (len == 4 && !strncasecmp(text, "deny", 4)))
        *ret = ACTION_DENY;
    else if (len == 5 && !strncasecmp(text, "allow", 5))
        *ret = ACTION_ALLOW;
    else
        return false;
    return true;
}

/* Finds the members of a rule. Both are strings or, when not given, NULL. */
static int read_members(const cJSON *item, const struct place *at, const char **ret_action, const char **ret_target,
                        struct why *why)
{
    if (!cJSON_IsObject(item))
        return why_set(why, -EINVAL, "%s[%zu]: expected an object, found %s", at->array, at->i, type_name(item));
    const char *action = NULL, *target = NULL;
    for (const cJSON *member = item->child; member; member = member->next) {
        bool is_action = !strcmp(member->string, "action");
        if (!is_action && strcmp(member->string, "target"))
            return why_set(why, -EINVAL, "%s[%zu].%.100s: unknown member; expected action and target", at->array, at->i,
                           member->string);
        const char **value = is_action ? &action : &target;
        if (*value)
            return why_set(why, -EINVAL, "%s[%zu].%s: given twice", at->array, at->i, member->string);
        if (!cJSON_IsString(member))
            return why_set(why, -EINVAL, "%s[%zu].%s: expected a string, found %s", at->array, at->i, member->string,
                           type_name(member));
        *value = member->valuestring;
    }
    *ret_action = action;
    *ret_target = target;
    return 0;
}

/* -EBADMSG: the rule's action is wrong and all else is fine. */
static int read_rule(const cJSON *item, const struct place *at, struct rule_list *list, struct why *why)
{
    const char *action_text = NULL, *target = NULL;
    int error = read_members(item, at, &action_text, &target, why);
    if (error)
        return error;
    if (!target)
        return why_set(why, -EINVAL, "%s[%zu].target: missing; expected a name, *.name, an IP address or a CIDR",
                       at->array, at->i);
    enum action action = ACTION_DENY;
    bool action_valid = !action_text || parse_action(action_text, &action);
    struct why reason;
    error = rule_list_add(list, action, target, &reason);
    if (error == -EINVAL)
        return why_set(why, error, "%s[%zu].target: %s", at->array, at->i, reason.text);
    if (!error && !action_valid)
        return why_set(why, -EBADMSG, "%s[%zu].action: \"%.100s\": expected allow or deny", at->array, at->i,
                       action_text);
    return error;
}

/* -EBADMSG with the first wrong action in `why` when nothing else is wrong with any rule. */
static int read_rules(const cJSON *array, const char *name, struct rule_list *list, struct why *why)
{
    struct place at = {.array = name};
    int result = 0;
    for (const cJSON *item = array->child; item; item = item->next, at.i++) {
        struct why reason;
        int error = read_rule(item, &at, list, &reason);
        if (error == -ENOMEM)
            return error;
        if (error == -EINVAL)
            return why_set(why, error, "%s", reason.text);
        if (error && !result)
            result = why_set(why, error, "%s", reason.text);
    }
    return result;
}

static int read_target(const cJSON *item, size_t i, struct rule_list *list, struct why *why)
{
    if (!cJSON_IsString(item))
        return why_set(why, -EINVAL, "[%zu]: expected a string, found %s", i, type_name(item));
    int error = rule_list_add(list, ACTION_DENY, item->valuestring, NULL);
    return error == -EINVAL ? 0 : error; /* no rule has such a target */
}

/* The array that is the whole document. */
static int parse_array(const char *text, size_t len, const char *expected, cJSON **ret, struct why *why)
{
    if (is_blank(text, len))
        return why_set(why, -EINVAL, "expected %s, found nothing", expected);
    _cleanup_(cleanup_json) cJSON *root = NULL;
    int error = parse(text, len, &root, why);
    if (error)
        return error;
    if (!cJSON_IsArray(root))
        return why_set(why, -EINVAL, "expected %s, found %s", expected, type_name(root));
    *ret = take_pointer(root);
    return 0;
}

int rules_from_json(const char *text, size_t len, struct rule_list **ret, struct why *why)
{
    _cleanup_(cleanup_json) cJSON *root = NULL;
    _cleanup_(cleanup_rule_list) struct rule_list *list = NULL;
    int error = parse_array(text, len, "an array of rules", &root, why);
    if (!error)
        error = rule_list_new(&list);
    if (!error)
        error = read_rules(root, "", list, why);
    if (!error)
        *ret = take_pointer(list);
    return error;
}

int targets_from_json(const char *text, size_t len, struct rule_list **ret, struct why *why)
{
    _cleanup_(cleanup_json) cJSON *root = NULL;
    _cleanup_(cleanup_rule_list) struct rule_list *list = NULL;
    int error = parse_array(text, len, "an array of targets", &root, why);
    if (!error && !root->child)
        error = why_set(why, -EINVAL, "empty array");
    if (!error)
        error = rule_list_new(&list);
    size_t i = 0;
    for (const cJSON *item = error ? NULL : root->child; item && !error; item = item->next)
        error = read_target(item, i++, list, why);
    if (!error)
        *ret = take_pointer(list);
    return error;
}

/* The members of a policy that are there; the others stay NULL. */
struct policy_members {
    const cJSON *default_action, *egress;
};

static int find_policy_members(const cJSON *root, struct policy_members *ret, struct why *why)
{
    struct policy_members members = {0};
    for (const cJSON *member = root->child; member; member = member->next) {
        bool is_egress = !strcmp(member->string, "egress");
        if (!is_egress && strcmp(member->string, "defaultAction"))
            return why_set(why, -EINVAL, "%.100s: unknown member; expected defaultAction and egress", member->string);
        if (cJSON_IsNull(member)) /* what a Go client makes of a slice that is nil */
            continue;
        const cJSON **value = is_egress ? &members.egress : &members.default_action;
        if (*value)
            return why_set(why, -EINVAL, "%s: given twice", member->string);
        if (is_egress ? !cJSON_IsArray(member) : !cJSON_IsString(member))
            return why_set(why, -EINVAL, "%s: expected %s, found %s", member->string,
                           is_egress ? "an array" : "a string", type_name(member));
        *value = member;
    }
    *ret = members;
    return 0;
}

static int read_policy(const cJSON *root, size_t max_rules, struct rule_list *list, enum action *ret_default,
                       struct why *why)
{
    if (cJSON_IsNull(root))
        return 0;
    if (!cJSON_IsObject(root))
        return why_set(why, -EINVAL, "expected an object, found %s", type_name(root));
    struct policy_members members = {0};
    int error = find_policy_members(root, &members, why);
    if (error)
        return error;
    if (members.default_action && !parse_action(members.default_action->valuestring, ret_default))
        return why_set(why, -EINVAL, "defaultAction: \"%.100s\": expected allow or deny",
                       members.default_action->valuestring);
    if (!members.egress)
        return 0;
    size_t count = (size_t)cJSON_GetArraySize(members.egress);
    error = policy_check_count(count, max_rules, why);
    if (error)
        return error;
    error = read_rules(members.egress, "egress", list, why);
    return error == -EBADMSG ? -EINVAL : error;
}

int policy_from_json(const char *text, size_t len, size_t max_rules, struct policy **ret, struct why *why)
{
    _cleanup_(cleanup_json) cJSON *root = NULL;
    _cleanup_(cleanup_rule_list) struct rule_list *list = NULL;
    enum action default_action = ACTION_DENY;
    int error = rule_list_new(&list);
    if (!error && !is_blank(text, len)) {
        error = parse(text, len, &root, why);
        if (!error)
            error = read_policy(root, max_rules, list, &default_action, why);
    }
    return error ? error : policy_new(default_action, take_pointer(list), ret);
}

static const char *action_name(enum action action)
{
    return action == ACTION_ALLOW ? "allow" : "deny";
}

void rule_to_json(const struct rule *rule, struct buf *ret)
{
    buf_puts(ret, "{\"action\":\"");
    buf_puts(ret, action_name(rule->action));
    buf_puts(ret, "\",\"target\":");
    buf_json_string(ret, rule->text, strlen(rule->text));
    buf_putc(ret, '}');
}

static void put_rule(struct buf *buf, size_t i, const struct rule *rule)
{
    if (i)
        buf_putc(buf, ',');
    rule_to_json(rule, buf);
}

void rules_to_json(const struct rule_list *rules, struct buf *ret)
{
    buf_putc(ret, '[');
    for (size_t i = 0; i < rule_list_count(rules); i++)
        put_rule(ret, i, rule_list_at(rules, i));
    buf_putc(ret, ']');
}

void policy_rules_to_json(const struct policy *policy, struct buf *ret)
{
    buf_putc(ret, '[');
    for (size_t i = 0; i < policy_count(policy); i++)
        put_rule(ret, i, policy_rule(policy, i));
    buf_putc(ret, ']');
}

void policy_to_json(const struct policy *policy, struct buf *ret)
{
    buf_puts(ret, "{\"egress\":");
    policy_rules_to_json(policy, ret);
    buf_printf(ret, ",\"defaultAction\":\"%s\"}", action_name(policy_default(policy)));
}
