#include "api/dry_run.h"

#include "api/server.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "policy/policy_json.h"

bool dry_run_wanted(struct request *request)
{
    const char *value;
    if (!request_argument(request, "dryRun", &value))
        return true;
    request->dry_run = text_truthy(value);
    if (request->dry_run || text_falsy(value))
        return true;
    /* Never a real change instead of one that was to be tried. */
    request_answer_line(request, MHD_HTTP_BAD_REQUEST, "dryRun: expected true or false");
    return false;
}

static void put_rules(struct buf *body, const char *key, const struct rule_list *rules)
{
    buf_printf(body, ",\"%s\":", key);
    rules_to_json(rules, body);
}

void dry_run_answer(struct change *change)
{
    struct api *api = change->api;
    struct request *request = change->request;
    _cleanup_(policy_diff_done) struct policy_diff diff = {0};
    if (change->letter.error || policy_diff(api->current.policy, change->next, &diff)) {
        const char *reason = change->letter.error ? change->letter.why.text : "out of memory";
        change_refuse(api, request, MHD_HTTP_INTERNAL_SERVER_ERROR, reason);
        return;
    }
    const struct forecast *forecast = &change->letter.forecast;
    struct buf body = {0};
    buf_printf(&body, "{\"status\":\"ok\",\"dryRun\":true,\"mode\":\"%s\",\"enforcementMode\":\"%s\"",
               policy_mode(change->next), api->settings.enforcement_mode);
    buf_printf(&body, ",\"defaultAction\":\"%s\"", policy_default(change->next) == ACTION_ALLOW ? "allow" : "deny");
    put_rules(&body, "added", diff.added);
    put_rules(&body, "removed", diff.removed);
    buf_printf(&body, ",\"reordered\":%s,\"revoked\":", diff.reordered ? "true" : "false");
    buf_append(&body, forecast->revoked.data, forecast->revoked.len);
    buf_printf(&body, ",\"revokedTotal\":%zu,\"flows\":", forecast->n_revoked);
    buf_append(&body, forecast->flows.data, forecast->flows.len);
    buf_printf(&body, ",\"flowsTotal\":%zu}\n", forecast->n_flows);
    request_answer(request, MHD_HTTP_OK, "application/json", &body);
}
