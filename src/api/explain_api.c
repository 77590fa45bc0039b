#include "api/explain_api.h"

#include "api/effective.h"
#include "api/health_api.h"
#include "api/server.h"
#include "base/cleanup.h"
#include "policy/policy_json.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* In an answer of GET /policy/suggested that lacks some of them. */
#define INCOMPLETE_HEADER "OPENSANDBOX-EGRESS-INCOMPLETE"

/* At the loop at once: one may take it a millisecond, and those that it gets in one turn hold up DNS together. */
#define LOOKUPS_MAX 2

struct lookup;
typedef void lookup_answer(const struct lookup *lookup);

/* A request that waits for what the loop says. */
struct lookup {
    struct policy_question question; /* to the loop and back */
    struct api *api;
    struct request *request;
    struct connection_share *share;
    lookup_answer *answer;
    struct rule_list *target; /* NULL, or one rule with the name or address in question */
};

static void lookup_free(struct lookup *lookup)
{
    if (!lookup)
        return;
    if (lookup->share)
        lookup->share->n_lookups--;
    rule_list_free(lookup->target);
    seen_free(lookup->question.seen);
    buf_done(&lookup->question.leases);
    free(lookup);
}

DEFINE_CLEANUP(struct lookup, cleanup_lookup, lookup_free);

/* Why a packet or a query passes or not. */
struct explanation {
    enum action action;
    const char *layer;
    const struct rule *rule; /* NULL: none */
};

/* In the order in which the kernel looks (nft/chains.c): what was learned counts when no rule names the address. */
static struct explanation explain(const struct rule *target, const struct policy_question *question)
{
    const struct policy_layers *layers = &question->layers;
    if (question->is_own)
        return (struct explanation){ACTION_ALLOW, "own", NULL};
    struct decision decision = question->about == ABOUT_ADDRESS ? policy_decide_addr(layers, &question->addr)
                                                                : policy_decide(layers, target->name, target->name_len);
    struct explanation explanation = {decision.action, "default", decision.rule};
    if (decision.rule)
        explanation.layer = layer_name(decision.layer);
    else if (question->lease.state == LEASE_REVOKED)
        explanation = (struct explanation){ACTION_DENY, "revoked", NULL};
    else if (question->lease.state == LEASE_LEARNED && decision.action == ACTION_DENY)
        explanation = (struct explanation){ACTION_ALLOW, "learned", NULL};
    return explanation;
}

static void answer_explain(const struct lookup *lookup)
{
    const struct policy_question *question = &lookup->question;
    const struct rule *target = rule_list_at(lookup->target, 0);
    struct explanation explanation = explain(target, question);
    struct buf body = {0};
    buf_printf(&body,
               "{\"status\":\"ok\",\"enforcementMode\":\"%s\",\"target\":", lookup->api->settings.enforcement_mode);
    buf_json_string(&body, target->text, strlen(target->text));
    buf_printf(&body,
               ",\"action\":\"%s\",\"layer\":\"%s\",\"rule\":", explanation.action == ACTION_ALLOW ? "allow" : "deny",
               explanation.layer);
    if (explanation.rule)
        rule_to_json(explanation.rule, &body);
    else
        buf_puts(&body, "null");
    if (question->about == ABOUT_ADDRESS) {
        buf_puts(&body, ",\"lease\":");
        if (question->lease.state != LEASE_NONE)
            lease_info_to_json(&question->lease, &body);
        else
            buf_puts(&body, "null");
    }
    buf_puts(&body, "}\n");
    request_answer(lookup->request, MHD_HTTP_OK, "application/json", &body);
}

static void answer_out_of_memory(const struct lookup *lookup)
{
    request_answer_line(lookup->request, MHD_HTTP_INTERNAL_SERVER_ERROR, "out of memory");
}

static void answer_effective(const struct lookup *lookup)
{
    struct api *api = lookup->api;
    struct MHD_Response *answer =
        effective_answer(&api->effective, &lookup->question.layers, api->settings.enforcement_mode);
    if (answer)
        request_answer_response(lookup->request, MHD_HTTP_OK, "application/json", answer);
    else
        answer_out_of_memory(lookup);
}

static void answer_suggested(const struct lookup *lookup)
{
    struct policy *policy;
    bool no_names, no_addrs;
    if (!lookup->question.seen || seen_policy(lookup->question.seen, &policy, &no_names, &no_addrs)) {
        answer_out_of_memory(lookup);
        return;
    }
    struct buf body = {0};
    policy_to_json(policy, &body);
    policy_unref(policy);
    buf_putc(&body, '\n');
    request_answer_large(lookup->request, &body);
    no_addrs |= metric_get(lookup->api->settings.metrics, METRIC_PEERS_SUPPRESSED) > 0;
    if (no_names || no_addrs)
        request_answer_header(lookup->request, INCOMPLETE_HEADER,
                              !no_addrs   ? "names"
                              : !no_names ? "addresses"
                                          : "names, addresses");
}

static void answer_leases(const struct lookup *lookup)
{
    const struct buf *leases = &lookup->question.leases;
    struct buf body = {.failed = leases->failed};
    buf_puts(&body, "{\"status\":\"ok\",\"leases\":[");
    buf_append(&body, leases->data, leases->len);
    buf_printf(&body, "],\"leasesTotal\":%zu}\n", lookup->question.n_leases);
    request_answer_large(lookup->request, &body);
}

static void post(struct lookup *lookup)
{
    struct api *api = lookup->api;
    api->n_lookups++;
    api->hooks.ask(api->hooks.ctx, &lookup->question);
}

/* NULL: none waits. */
static struct lookup *take_waiting(struct api *api)
{
    struct mail *first = api->lookups_waiting;
    if (first)
        api->lookups_waiting = first->next;
    return (struct lookup *)first; /* the first member of its first member */
}

static void on_back(struct mail *mail, void *ctx)
{
    struct lookup *lookup = (struct lookup *)mail, *next;
    struct api *api = ctx;
    lookup->answer(lookup);
    policy_layers_unref(&lookup->question.layers);
    api->n_lookups--;
    server_resume(lookup->request);
    lookup_free(lookup);
    if ((next = take_waiting(api)))
        post(next);
}

/* The loop's thread. */
static void on_answered(struct policy_question *question)
{
    struct lookup *lookup = (struct lookup *)question;
    question->mail.deliver = on_back;
    mailbox_post(lookup->api->mailbox, &question->mail);
}

static void refuse(struct lookup *lookup)
{
    request_answer_line(lookup->request, MHD_HTTP_SERVICE_UNAVAILABLE, "the sidecar is stopping");
    server_resume(lookup->request);
    lookup_free(lookup);
}

void explain_api_cancel_waiting(struct api *api)
{
    struct lookup *lookup;
    while ((lookup = take_waiting(api)))
        refuse(lookup);
}

static void ask(struct lookup *lookup)
{
    struct api *api = lookup->api;
    struct connection_share *share = &api->shares[connection_side(lookup->request->connection)];
    if (share->n_lookups >= api->settings.connections / 2) { /* those who wait make room for nobody */
        request_answer_busy(lookup->request, "too many questions at once");
        lookup_free(lookup);
        return;
    }
    lookup->share = share;
    share->n_lookups++;
    lookup->question.answered = on_answered;
    if (api->out_of_time) {
        refuse(lookup);
    } else if (api->n_lookups < LOOKUPS_MAX) {
        post(lookup);
    } else {
        struct mail **link = &api->lookups_waiting; /* a connection has one at most: the list is short */
        while (*link)
            link = &(*link)->next;
        *link = &lookup->question.mail;
    }
}

static struct lookup *lookup_new(struct api *api, struct request *request, lookup_answer *answer)
{
    struct lookup *lookup = calloc(1, sizeof(*lookup));
    if (!lookup) {
        request_answer_line(request, MHD_HTTP_INTERNAL_SERVER_ERROR, "out of memory");
        return NULL;
    }
    lookup->api = api;
    lookup->request = request;
    lookup->answer = answer;
    return lookup;
}

/* A target as rules have it, but one that is a single name or address. */
static int parse_target(const char *text, struct lookup *lookup, struct why *why)
{
    why_set(why, 0, "out of memory");
    int error = rule_list_new(&lookup->target);
    if (!error)
        error = rule_list_add(lookup->target, ACTION_DENY, text, why);
    if (error)
        return error;
    const struct rule *rule = rule_list_at(lookup->target, 0);
    const struct ip_addr *addr = &rule->prefix.addr;
    if (rule->kind != TARGET_NAME && (rule->kind != TARGET_PREFIX || rule->prefix.bits != 8 * ip_size(addr->family)))
        return why_set(why, -EINVAL, "\"%.100s\": expected one name or one IP address", rule->text);
    lookup->question.about = rule->kind == TARGET_PREFIX ? ABOUT_ADDRESS : ABOUT_POLICY;
    lookup->question.addr = *addr;
    return 0;
}

void explain_api_get(struct api *api, struct request *request)
{
    const char *text;
    if (!request_argument(request, "target", &text)) {
        request_answer_line(request, MHD_HTTP_BAD_REQUEST, "target: missing; expected a name or an IP address");
        return;
    }
    _cleanup_(cleanup_lookup) struct lookup *lookup = lookup_new(api, request, answer_explain);
    if (!lookup)
        return;
    struct why why;
    int error = parse_target(text, lookup, &why);
    if (error) {
        char line[WHY_MAX + 16];
        snprintf(line, sizeof(line), "target: %s", why.text);
        request_answer_line(request, error == -EINVAL ? MHD_HTTP_BAD_REQUEST : MHD_HTTP_INTERNAL_SERVER_ERROR, line);
        return;
    }
    ask(take_pointer(lookup));
}

static void look_up(struct api *api, struct request *request, enum policy_subject about, lookup_answer *answer)
{
    struct lookup *lookup = lookup_new(api, request, answer);
    if (!lookup)
        return;
    lookup->question.about = about;
    ask(lookup);
}

void effective_api_get(struct api *api, struct request *request)
{
    look_up(api, request, ABOUT_POLICY, answer_effective);
}

void suggested_api_get(struct api *api, struct request *request)
{
    look_up(api, request, ABOUT_SEEN, answer_suggested);
}

void leases_api_get(struct api *api, struct request *request)
{
    look_up(api, request, ABOUT_LEASES, answer_leases);
}

static void answer_health(const struct lookup *lookup)
{
    health_api_answer(lookup->api, lookup->request);
}

void explain_api_look(struct api *api, struct request *request)
{
    look_up(api, request, ABOUT_HEALTH, answer_health);
}
