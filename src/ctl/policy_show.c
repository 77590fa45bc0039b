/* Commands that look at the policy. */
#include "base/cleanup.h"
#include "ctl/command.h"
#include "ctl/listing.h"

#include <stdio.h>
#include <string.h>

static enum tone tone_of(const char *action)
{
    return strcmp(action, "allow") ? TONE_BAD : TONE_GOOD;
}

static void add_rules(struct listing *listing, const cJSON *rules, const char *from)
{
    const cJSON *rule;
    cJSON_ArrayForEach(rule, rules)
    {
        const char *action = json_text(rule, "action");
        listing_add(listing, tone_of(action), action);
        listing_add(listing, TONE_PLAIN, json_text(rule, "target"));
        listing_add(listing, TONE_FAINT, from);
    }
}

static bool is_audit(const cJSON *answer)
{
    return strstr(json_text(answer, "enforcementMode"), "audit");
}

static int show_layers(struct command *command, const cJSON *answer)
{
    _cleanup_listing_ struct listing listing = {command->colour, 3};
    _cleanup_buf_ struct buf out = {0};
    const cJSON *policy = cJSON_GetObjectItemCaseSensitive(answer, "policy");
    const char *fallback = json_text(policy, "defaultAction");
    listing_titles(&listing, "ACTION,TARGET,FROM");
    add_rules(&listing, cJSON_GetObjectItemCaseSensitive(answer, "deny_always"), "deny.always");
    add_rules(&listing, cJSON_GetObjectItemCaseSensitive(answer, "allow_always"), "allow.always");
    add_rules(&listing, cJSON_GetObjectItemCaseSensitive(policy, "egress"), "policy");
    listing_add(&listing, tone_of(fallback), fallback);
    listing_add(&listing, TONE_PLAIN, "everything else");
    listing_add(&listing, TONE_FAINT, "default");
    listing_put(&listing, 0, &out);
    if (is_audit(answer))
        tone_put(&out, command->colour, TONE_BAD, "NOTHING IS ENFORCED: audit mode");
    buf_puts(&out, is_audit(answer) ? "\n" : "");
    return command_print(command, &out);
}

/* As GET /policy has it, with the ETag, so that `policy set` knows what was changed. */
static int print_policy(struct command *command)
{
    _cleanup_reply_ struct reply reply = {0};
    _cleanup_json_ cJSON *answer = NULL;
    _cleanup_buf_ struct buf out = {0};
    int code = command_get(command, "/policy", &reply, &answer);
    if (code)
        return code;
    cJSON_AddStringToObject(answer, "etag", reply.etag);
    _cleanup_free_ char *text = cJSON_Print(answer);
    out.failed = !text;
    buf_printf(&out, "%s\n", text ? text : "");
    return command_print(command, &out);
}

int policy_get(struct command *command)
{
    if (command->json)
        return print_policy(command);
    _cleanup_reply_ struct reply reply = {0};
    _cleanup_json_ cJSON *answer = NULL;
    int code = command_get(command, "/policy/effective", &reply, &answer);
    return code ? code : show_layers(command, answer);
}

int policy_suggested(struct command *command)
{
    _cleanup_reply_ struct reply reply = {0};
    _cleanup_json_ cJSON *answer = NULL;
    int code = command_get(command, "/policy/suggested", &reply, &answer);
    return code ? code : command_print(command, &reply.body);
}

/* Everything but letters and digits as %XX (RFC 3986 section 2.1). */
static void put_target(struct buf *path, const char *target)
{
    for (const char *c = target; *c; c++)
        if ((*c >= '0' && *c <= '9') || (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z'))
            buf_putc(path, *c);
        else
            buf_printf(path, "%%%02X", (unsigned char)*c);
}

static void put_because(const cJSON *answer, struct buf *ret)
{
    const char *layer = json_text(answer, "layer");
    const char *rule = json_text(cJSON_GetObjectItemCaseSensitive(answer, "rule"), "target");
    const cJSON *lease = cJSON_GetObjectItemCaseSensitive(answer, "lease");
    bool learned = !strcmp(layer, "learned");
    if (*rule) {
        buf_printf(ret, "rule %s of %s", rule,
                   !strcmp(layer, "policy")        ? "the policy"
                   : !strcmp(layer, "deny_always") ? "deny.always"
                                                   : "allow.always");
    } else if (learned || !strcmp(layer, "revoked")) {
        buf_puts(ret, learned ? "an address of " : "names that lead to it were denied: ");
        json_texts(cJSON_GetObjectItemCaseSensitive(lease, "names"), ret);
        buf_printf(ret, " (%.0f s left)", json_number(lease, "seconds"));
    } else if (!strcmp(layer, "own")) {
        buf_puts(ret, "an address of the sandbox itself");
    } else {
        buf_puts(ret, "no rule names it: the default");
    }
    if (is_audit(answer))
        buf_puts(ret, "; audit mode: nothing is refused");
    else if (lease && !strcmp(json_text(answer, "enforcementMode"), "dns"))
        buf_puts(ret, "; dns mode: no address is refused");
}

/* Adds a row, or the answer as it is, and says in `ret_denied` when it is no. */
static int explain(struct command *command, const char *target, struct listing *listing, struct buf *out,
                   bool *ret_denied)
{
    _cleanup_reply_ struct reply reply = {0};
    _cleanup_json_ cJSON *answer = NULL;
    _cleanup_buf_ struct buf path = {0}, because = {0};
    buf_puts(&path, "/policy/explain?target=");
    put_target(&path, target);
    int code = command_get(command, path.failed ? "" : path.data, &reply, &answer);
    if (code)
        return code;
    const char *action = json_text(answer, "action");
    *ret_denied |= strcmp(action, "allow") != 0;
    if (command->json) {
        buf_puts(out, reply.body.data);
        return 0;
    }
    put_because(answer, &because);
    listing_add(listing, tone_of(action), action);
    listing_add(listing, TONE_PLAIN, json_text(answer, "target"));
    listing_add(listing, TONE_FAINT, because.failed ? "" : because.data);
    return 0;
}

int policy_explain(struct command *command)
{
    _cleanup_listing_ struct listing listing = {command->colour, 3};
    _cleanup_buf_ struct buf out = {0};
    bool denied = false;
    int code = 0;
    for (size_t i = 0; i < command->n_words && !code; i++)
        code = explain(command, command->words[i], &listing, &out, &denied);
    listing_put(&listing, 0, &out);
    int printed = command_print(command, &out);
    return code ? code : printed ? printed : denied ? COMMAND_NO : 0;
}
