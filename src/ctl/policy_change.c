/* Commands that change the policy. A change is tried first, so that it can be shown, and then made of the policy that
 * it was tried with: If-Match lets no other writer come between. */
#include "base/cleanup.h"
#include "ctl/command.h"
#include "ctl/listing.h"

#include <string.h>
#include <sysexits.h>

#define POLICY_FILE_MAX (4 * 1024 * 1024) /* of which the sidecar takes 1 MiB */
#define TRIES 8                           /* of a change that fits any policy, when others change it meanwhile */
#define SHOWN_MAX 20                      /* addresses and flows */

struct change {
    const char *method;
    struct buf body;
    char etag[CLIENT_ETAG_MAX]; /* of the policy that is to be changed; "": the one in force now */
    bool merges;                /* made of whatever is there */
};

static int ask(struct command *command, const struct change *change, const char *etag, bool dry_run, struct reply *ret)
{
    const struct request request = {
        .method = change->method,
        .path = dry_run ? "/policy?dryRun=true" : "/policy",
        .body = &change->body,
        .if_match = etag,
    };
    return client_ask(command->client, &request, ret, &command->why);
}

/* --- what is shown --- */

static size_t put_rules(struct command *command, const cJSON *forecast, const char *which, const char *sign,
                        enum tone tone, struct buf *out)
{
    const cJSON *rules = cJSON_GetObjectItemCaseSensitive(forecast, which), *rule;
    cJSON_ArrayForEach(rule, rules)
    {
        _cleanup_buf_ struct buf line = {0};
        buf_printf(&line, "%s %-5s  %s", sign, json_text(rule, "action"), json_text(rule, "target"));
        tone_put(out, command->colour, tone, line.failed ? "" : line.data);
        buf_putc(out, '\n');
    }
    return (size_t)cJSON_GetArraySize(rules);
}

static void put_rest(double total, int shown, const char *what, struct buf *out)
{
    if (total > shown)
        buf_printf(out, "  and %.0f %s more\n", total - shown, what);
}

static size_t put_losses(const cJSON *forecast, struct buf *out)
{
    double revoked = json_number(forecast, "revokedTotal"), flows = json_number(forecast, "flowsTotal");
    const cJSON *item;
    int shown = 0;
    cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(forecast, "revoked"))
    {
        if (shown++ == SHOWN_MAX)
            break;
        _cleanup_buf_ struct buf line = {0};
        buf_printf(&line, "  address %s is refused: ", json_text(item, "address"));
        json_texts(cJSON_GetObjectItemCaseSensitive(item, "names"), &line);
        tone_put(out, false, TONE_PLAIN, line.failed ? "" : line.data);
        buf_putc(out, '\n');
    }
    put_rest(revoked, SHOWN_MAX, "addresses", out);
    shown = 0;
    cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(forecast, "flows"))
    {
        if (shown++ == SHOWN_MAX)
            break;
        _cleanup_buf_ struct buf line = {0};
        buf_printf(&line, "  open connection ends: %s %s port %.0f", json_text(item, "protocol"),
                   json_text(item, "peer"), json_number(item, "port"));
        tone_put(out, false, TONE_PLAIN, line.failed ? "" : line.data);
        buf_putc(out, '\n');
    }
    put_rest(flows, SHOWN_MAX, "connections", out);
    return (size_t)(revoked + flows);
}

static int show(struct command *command, const cJSON *forecast, const char *default_before)
{
    _cleanup_buf_ struct buf out = {0};
    const char *fallback = json_text(forecast, "defaultAction");
    size_t n = put_rules(command, forecast, "removed", "-", TONE_BAD, &out);
    n += put_rules(command, forecast, "added", "+", TONE_GOOD, &out);
    if (strcmp(default_before, fallback)) {
        _cleanup_buf_ struct buf line = {0};
        buf_printf(&line, "default: %s -> %s\n", default_before, fallback);
        buf_puts(&out, line.failed ? "" : line.data);
        n++;
    }
    if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(forecast, "reordered"))) {
        buf_puts(&out, "the other rules change their order\n");
        n++;
    }
    n += put_losses(forecast, &out);
    if (!n)
        buf_puts(&out, "no difference\n");
    if (command->dry_run)
        tone_put(&out, command->colour, TONE_BOLD, "dry run: nothing was changed");
    if (command->dry_run)
        buf_putc(&out, '\n');
    return command_print(command, &out);
}

/* --- the change --- */

/* Once, of the policy in force. */
static int try(struct command *command, const struct change *change)
{
    _cleanup_reply_ struct reply before = {0}, forecast = {0}, after = {0};
    _cleanup_json_ cJSON *old = NULL, *tried = NULL;
    int code = command_get(command, "/policy", &before, &old);
    const char *etag = *change->etag ? change->etag : before.etag;
    if (!code)
        code = ask(command, change, etag, true, &forecast);
    if (!code)
        code = client_json(command->client, &forecast, &tried, &command->why);
    if (!code && !command->dry_run)
        code = ask(command, change, etag, false, &after);
    if (code)
        return code;
    if (!strcmp(change->method, "DELETE") && !cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(tried, "removed")))
        code = why_set(&command->why, COMMAND_NO, "no rule has such a target: see `policy get`");
    const cJSON *policy = cJSON_GetObjectItemCaseSensitive(old, "policy");
    int printed = 0;
    if (command->json)
        printed = command_print(command, command->dry_run ? &forecast.body : &after.body);
    else if (!code)
        printed = show(command, tried, json_text(policy, "defaultAction"));
    return printed ? printed : code;
}

static int make(struct command *command, struct change *change)
{
    if (change->body.failed)
        return why_set(&command->why, EX_OSERR, "out of memory");
    int code;
    for (unsigned tries = 1; (code = try(command, change)) == EX_TEMPFAIL && change->merges && tries < TRIES;)
        tries++;
    return code;
}

static int change_rules(struct command *command, const char *method, const char *action)
{
    struct change change = {.method = method, .merges = true};
    for (size_t i = 0; i < command->n_words; i++) {
        const char *target = command->words[i];
        buf_puts(&change.body, i ? "," : "[");
        if (action)
            buf_printf(&change.body, "{\"action\":\"%s\",\"target\":", action);
        buf_json_string(&change.body, target, strlen(target));
        buf_puts(&change.body, action ? "}" : "");
    }
    buf_putc(&change.body, ']');
    int code = make(command, &change);
    buf_done(&change.body);
    return code;
}

int policy_allow(struct command *command)
{
    return change_rules(command, "PATCH", "allow");
}

int policy_deny(struct command *command)
{
    return change_rules(command, "PATCH", "deny");
}

int policy_rm(struct command *command)
{
    return change_rules(command, "DELETE", NULL);
}

/* What `policy get --json` printed is taken apart: the policy, to be set if it still has that ETag. Anything else is
 * the sidecar's to judge; so is what cJSON would cut short. */
static int unwrap(struct change *change)
{
    if (!change->body.len || strlen(change->body.data) != change->body.len || strstr(change->body.data, "\\u0000"))
        return 0;
    _cleanup_json_ cJSON *file = cJSON_ParseWithLengthOpts(change->body.data, change->body.len + 1, NULL, true);
    const cJSON *policy = cJSON_GetObjectItemCaseSensitive(file, "policy");
    if (!cJSON_IsObject(policy))
        return 0;
    strncpy(change->etag, json_text(file, "etag"), sizeof(change->etag) - 1);
    _cleanup_free_ char *text = cJSON_PrintUnformatted(policy);
    if (!text)
        return -1;
    buf_clear(&change->body);
    buf_puts(&change->body, text);
    return 0;
}

int policy_set(struct command *command)
{
    struct change change = {.method = "PUT"};
    const char *file = command->words[0];
    int code = command_read(file, POLICY_FILE_MAX, &change.body, &command->why);
    if (!code && !change.body.len)
        code = why_set(&command->why, EX_DATAERR, "%.200s: empty; expected a policy ({} denies everything)", file);
    change.body.failed |= !code && unwrap(&change);
    if (!code)
        code = make(command, &change);
    buf_done(&change.body);
    return code;
}
