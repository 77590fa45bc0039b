#include "api/policy_api.h"

#include "api/change.h"
#include "api/dry_run.h"
#include "api/server.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "policy/policy_json.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

DEFINE_CLEANUP(struct rule_list, cleanup_rule_list, rule_list_free);
#define _cleanup_rules_ _cleanup_(cleanup_rule_list)

void policy_api_get(struct api *api, struct request *request)
{
    struct current *current = &api->current;
    if (current_render(current)) {
        request_answer_line(request, MHD_HTTP_INTERNAL_SERVER_ERROR, "out of memory");
        return;
    }
    const char *known = request_header(request, MHD_HTTP_HEADER_IF_NONE_MATCH);
    if (!known || !etag_listed(known, current->etag, false)) {
        request_answer_shared(request, MHD_HTTP_OK, current->answer);
        return;
    }
    struct buf nothing = {0};
    request_answer(request, MHD_HTTP_NOT_MODIFIED, NULL, &nothing);
    request_answer_header(request, MHD_HTTP_HEADER_ETAG, current->etag);
}

void policy_api_answer(struct api *api, struct request *request, const char *reason, bool with_enforcement)
{
    struct buf body = {0};
    buf_printf(&body, "{\"status\":\"ok\",\"mode\":\"%s\"", policy_mode(api->current.policy));
    if (with_enforcement)
        buf_printf(&body, ",\"enforcementMode\":\"%s\"", api->settings.enforcement_mode);
    if (reason)
        buf_printf(&body, ",\"reason\":\"%s\"", reason);
    buf_puts(&body, "}\n");
    request_answer(request, MHD_HTTP_OK, "application/json", &body);
}

static bool blank(const struct buf *body)
{
    size_t len = body->len;
    text_trim(body->data, &len);
    return len == 0;
}

static bool refuse_memory(struct api *api, struct request *request)
{
    return change_refuse(api, request, MHD_HTTP_INTERNAL_SERVER_ERROR, "out of memory");
}

static bool refuse_body(struct api *api, struct request *request, int error, const char *what, const char *reason)
{
    if (error == -ENOMEM)
        return refuse_memory(api, request);
    char line[WHY_MAX + 64];
    snprintf(line, sizeof(line), "%s: %s", what, reason);
    return change_refuse(api, request, MHD_HTTP_BAD_REQUEST, line);
}

static bool make_put(struct api *api, struct request *request, struct change *ret)
{
    struct why why = {0};
    ret->reset = blank(&request->body);
    int error = policy_from_json(request->body.data ? request->body.data : "", request->body.len,
                                 api->settings.max_rules, &ret->next, &why);
    if (error == -E2BIG) /* before the rules are looked at: that would take its time */
        return change_refuse(api, request, MHD_HTTP_CONTENT_TOO_LARGE, why.text);
    if (error)
        return refuse_body(api, request, error, "invalid policy", why.text);
    policy_rules_to_json(ret->next, &ret->rules);
    ret->n_rules = policy_count(ret->next);
    return !ret->rules.failed || refuse_memory(api, request);
}

static bool make_patch(struct api *api, struct request *request, struct change *ret)
{
    struct why why = {0};
    _cleanup_rules_ struct rule_list *patch = NULL;
    int error = rules_from_json(request->body.data, request->body.len, &patch, &why);
    if (error)
        return refuse_body(api, request, error, error == -EBADMSG ? "invalid merged policy" : "invalid patch rules",
                           why.text);
    ret->n_rules = rule_list_count(patch);
    if (!ret->n_rules)
        return change_refuse(api, request, MHD_HTTP_BAD_REQUEST, "invalid patch rules: empty array");
    rules_to_json(patch, &ret->rules);
    if (ret->rules.failed || policy_patch(api->current.policy, patch, &ret->next))
        return refuse_memory(api, request);
    if (policy_check_count(policy_count(ret->next), api->settings.max_rules, &why))
        return change_refuse(api, request, MHD_HTTP_CONTENT_TOO_LARGE, why.text);
    return true;
}

static bool make_delete(struct api *api, struct request *request, struct change *ret)
{
    struct why why = {0};
    _cleanup_rules_ struct rule_list *targets = NULL, *removed = NULL;
    int error = targets_from_json(request->body.data, request->body.len, &targets, &why);
    if (error)
        return refuse_body(api, request, error, "invalid delete targets", why.text);
    if (policy_remove(api->current.policy, targets, &ret->next, &removed))
        return refuse_memory(api, request);
    ret->n_rules = rule_list_count(removed);
    if (!ret->n_rules && !request->dry_run) {
        policy_api_answer(api, request, "no matching targets found", true);
        return false;
    }
    rules_to_json(removed, &ret->rules);
    return !ret->rules.failed || refuse_memory(api, request);
}

/* What no change can be made of is refused before it takes a place in the queue. */
static void submit(struct api *api, struct request *request, bool may_be_blank, change_maker *make)
{
    if (!dry_run_wanted(request))
        return;
    if (request->body_fault == BODY_TOO_LARGE)
        change_refuse(api, request, MHD_HTTP_CONTENT_TOO_LARGE, "request body exceeds 1048576 bytes");
    else if (request->body_fault == BODY_NO_ROOM)
        change_refuse(api, request, MHD_HTTP_SERVICE_UNAVAILABLE, "too many request bodies at once");
    else if (!may_be_blank && blank(&request->body))
        change_refuse(api, request, MHD_HTTP_BAD_REQUEST, "empty body");
    else
        change_submit(api, request, make);
}

void policy_api_put(struct api *api, struct request *request)
{
    submit(api, request, true, make_put);
}

void policy_api_patch(struct api *api, struct request *request)
{
    submit(api, request, false, make_patch);
}

void policy_api_delete(struct api *api, struct request *request)
{
    submit(api, request, false, make_delete);
}
