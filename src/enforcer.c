#include "enforcer.h"

#include "guard.h"
#include "policy/policy_json.h"
#include "policy/policy_log.h"

#include <errno.h>
#include <string.h>

static struct policy_layers layers_of(struct policy *policy, const struct always *always)
{
    return (struct policy_layers){.deny_always = always->deny, .allow_always = always->allow, .policy = policy};
}

struct policy_layers enforcer_layers(const struct enforcer *enforcer)
{
    return layers_of(enforcer->policy, &enforcer->always);
}

static struct ip_ranges ranges_of(const struct policy *policy, enum action action)
{
    return policy ? policy_ranges(policy, action) : (struct ip_ranges){0};
}

static struct nft_policy for_kernel(const struct policy_layers *layers)
{
    return (struct nft_policy){
        .default_allow = policy_default(layers->policy) == ACTION_ALLOW,
        .always_deny = ranges_of(layers->deny_always, ACTION_DENY),
        .always_allow = ranges_of(layers->allow_always, ACTION_ALLOW),
        .deny = ranges_of(layers->policy, ACTION_DENY),
        .allow = ranges_of(layers->policy, ACTION_ALLOW),
    };
}

static bool still_allowed(void *ctx, const uint8_t *name, size_t len)
{
    return policy_decide(ctx, name, len).action == ACTION_ALLOW;
}

static bool always_allowed(void *ctx, const uint8_t *name, size_t len)
{
    return true;
}

typedef bool name_allowed(void *ctx, const uint8_t *name, size_t len);

/* Which names keep the addresses that they led to: in audit mode all of them. */
static name_allowed *keeps_addresses(const struct enforcer *enforcer)
{
    return enforcer->config->audit ? always_allowed : still_allowed;
}

static void warn_of_frames(struct enforcer *enforcer, const char *reason)
{
    log_printf(enforcer->log, LOG_WARN,
               "%s: drop CAP_NET_RAW from the application, or its raw frames leave past the rules", reason);
}

/* What only CAP_NET_RAW opens. Once: a kernel does not learn it. */
static void warn_of_raw_sockets(struct enforcer *enforcer)
{
    if (enforcer->warned_of_raw_sockets || enforcer->config->audit)
        return;
    enforcer->warned_of_raw_sockets = true;
    if (!nft_guards_frames(enforcer->nft))
        warn_of_frames(enforcer, "this kernel has no netdev egress hook (Linux 5.16)");
    if (!nft_knows_group(enforcer->nft))
        log_printf(
            enforcer->log, LOG_WARN,
            "without CAP_SETGID at the start the sidecar's packets are known by their mark alone: give it that, or "
            "drop CAP_NET_RAW from the application, or it can find the mark in hours");
    if (!nft_guards_answers(enforcer->nft))
        log_printf(enforcer->log, LOG_WARN,
                   "this kernel lacks nft_socket (CONFIG_NFT_SOCKET): drop CAP_NET_RAW from the application, or it can "
                   "forge answers");
}

/* Once each. */
static void warn_of_kernel(struct enforcer *enforcer)
{
    bool rejects = nft_rejects(enforcer->nft), lists = nft_lists_flows(enforcer->nft);
    if (!rejects && !enforcer->warned_of_reject)
        log_printf(enforcer->log, LOG_WARN,
                   "what is refused is dropped without a word: this kernel lacks nft_reject_inet "
                   "(CONFIG_NFT_REJECT_INET)");
    if (!lists && !enforcer->warned_of_flows)
        log_printf(enforcer->log, LOG_WARN,
                   "open flows that lose permission are found by their sockets alone: this kernel lacks "
                   "nf_conntrack_netlink (CONFIG_NF_CT_NETLINK)");
    bool ends = nft_lists_sockets(enforcer->nft);
    if (!ends && !enforcer->warned_of_sockets)
        log_printf(enforcer->log, LOG_WARN,
                   "connections that lose permission stay open, though rules refuse their packets: this kernel lacks "
                   "inet_diag (CONFIG_INET_DIAG, CONFIG_INET_DIAG_DESTROY)");
    enforcer->warned_of_sockets |= !ends;
    enforcer->warned_of_reject |= !rejects;
    enforcer->warned_of_flows |= !lists;
}

void enforcer_warn_of_xdp(struct enforcer *enforcer)
{
    if (enforcer->warned_of_xdp || enforcer->config->audit)
        return;
    enforcer->warned_of_xdp = true;
    if (nft_guards_frames(enforcer->nft) && guard_kernel_has_xdp())
        warn_of_frames(enforcer, "this kernel has AF_XDP sockets, whose frames no rule sees");
}

int enforcer_install(struct enforcer *enforcer, struct why *why)
{
    struct policy_layers layers = enforcer_layers(enforcer);
    struct nft_policy rules = for_kernel(&layers);
    int error = nft_restore(enforcer->nft, &rules, keeps_addresses(enforcer), &layers, why);
    if (!error)
        error = nft_install(enforcer->nft, &rules, why);
    if (error)
        return error;
    warn_of_raw_sockets(enforcer);
    warn_of_kernel(enforcer);
    enforcer_settle(enforcer, enforcer_settled, enforcer);
    return 0;
}

void enforcer_settled(void *ctx, int error, const struct why *why)
{
    struct enforcer *enforcer = ctx;
    if (error)
        log_printf(enforcer->log, LOG_ERROR, "open flows that lost permission could not be ended: %s", why->text);
}

void enforcer_settle(struct enforcer *enforcer, nft_settled *done, void *ctx)
{
    metric_add(enforcer->metrics, METRIC_POLICY_REVISION, 1);
    nft_settle(enforcer->nft, done, ctx);
}

/* Kernel and proxy get the new layers together. On failure both hold the old ones. */
static int enforce(struct enforcer *enforcer, const struct policy_layers *layers, struct why *why)
{
    struct nft_policy rules = for_kernel(layers);
    int error = nft_apply(enforcer->nft, &rules, keeps_addresses(enforcer), (void *)(uintptr_t)layers, why);
    if (!error)
        dns_proxy_set_layers(enforcer->proxy, layers);
    return error;
}

/* Without a policy file the table is where a change outlives this process. */
static void keep_policy(struct enforcer *enforcer)
{
    struct why why = {"out of memory"};
    if (enforcer->config->policy_file)
        return;
    buf_clear(&enforcer->kept);
    sources_policy_text(enforcer->config, enforcer->policy, &enforcer->kept);
    bool kept = !enforcer->kept.failed && !nft_write_kept(enforcer->nft, &why);
    if (!kept)
        buf_clear(&enforcer->kept);
    if (!kept && !enforcer->warned_of_kept)
        log_printf(enforcer->log, LOG_WARN,
                   "the policy is in force, but the kernel cannot keep it for a start after a crash (%s): "
                   "OPENSANDBOX_EGRESS_RULES would count; set OPENSANDBOX_EGRESS_POLICY_FILE",
                   why.text);
    enforcer->warned_of_kept = !kept;
}

int enforcer_change(struct enforcer *enforcer, struct policy *next, struct why *why)
{
    struct policy_layers layers = layers_of(next, &enforcer->always);
    int error = enforce(enforcer, &layers, why);
    if (error)
        return error;
    policy_unref(enforcer->policy);
    enforcer->policy = policy_ref(next);
    keep_policy(enforcer);
    return 0;
}

static bool allowed_in_preview(void *ctx, const uint8_t *name, size_t len)
{
    const struct enforcer *enforcer = ctx;
    return policy_decide(&enforcer->preview.layers, name, len).action == ACTION_ALLOW;
}

/* Where the next element goes; NULL when there are enough. */
static struct buf *next_element(struct buf *list, size_t *n)
{
    if ((*n)++ >= ENFORCER_PREVIEW_MAX)
        return NULL;
    if (*n > 1)
        buf_putc(list, ',');
    return list;
}

static void put_revoked(void *ctx, const struct lease_info *lease)
{
    struct forecast *forecast = ((struct enforcer *)ctx)->preview.forecast;
    struct buf *list = next_element(&forecast->revoked, &forecast->n_revoked);
    if (list)
        lease_info_to_json(lease, list);
}

static void put_flow(void *ctx, uint8_t protocol, const struct sock_addr *peer)
{
    struct forecast *forecast = ((struct enforcer *)ctx)->preview.forecast;
    struct buf *list = next_element(&forecast->flows, &forecast->n_flows);
    if (list)
        flow_to_json(protocol, peer, list);
}

static void preview_done(void *ctx, int error, const struct why *why)
{
    struct enforcer *enforcer = ctx;
    struct preview preview = enforcer->preview;
    struct why reason = {"out of memory"};
    struct forecast *forecast = preview.forecast;
    buf_putc(&forecast->revoked, ']');
    buf_putc(&forecast->flows, ']');
    policy_layers_unref(&enforcer->preview.layers);
    enforcer->preview = (struct preview){0};
    if (error)
        why_set(&reason, error, "cannot list open flows: %s", why->text);
    else if (forecast->revoked.failed || forecast->flows.failed)
        error = -ENOMEM;
    preview.done(preview.ctx, error, &reason);
}

void enforcer_preview(struct enforcer *enforcer, struct policy *next, struct forecast *ret,
                      void (*done)(void *ctx, int error, const struct why *why), void *ctx)
{
    struct policy_layers layers = layers_of(next, &enforcer->always);
    enforcer->preview =
        (struct preview){.layers = policy_layers_ref(&layers), .forecast = ret, .done = done, .ctx = ctx};
    struct nft_preview what = {.policy = for_kernel(&layers),
                               .still_allowed = allowed_in_preview,
                               .report_flow = put_flow,
                               .done = preview_done,
                               .ctx = enforcer};
    buf_putc(&ret->revoked, '[');
    buf_putc(&ret->flows, '[');
    nft_preview(enforcer->nft, &what.policy, allowed_in_preview, put_revoked, enforcer);
    nft_preview_flows(enforcer->nft, &what);
}

bool enforcer_keep(struct enforcer *enforcer, struct why *why)
{
    bool repaired;
    if (nft_keep(enforcer->nft, &repaired, why))
        return false;
    warn_of_raw_sockets(enforcer);
    if (repaired)
        log_printf(enforcer->log, LOG_ERROR,
                   "the table inet opensandbox was changed from outside (%s); it was put in place anew", why->text);
    return true;
}

const char *enforcer_refusal(const struct enforcer *enforcer, const struct ip_addr *addr)
{
    struct policy_layers layers = enforcer_layers(enforcer);
    struct decision decision = policy_decide_addr(&layers, addr);
    if (decision.rule && decision.action == ACTION_DENY)
        return decision.rule->text;
    struct lease_info lease;
    nft_lookup(enforcer->nft, addr, &lease);
    return lease.state == LEASE_REVOKED ? "revoked" : "default";
}

bool enforcer_needs_rule(const struct enforcer *enforcer, const struct ip_addr *addr)
{
    struct policy_layers layers = enforcer_layers(enforcer);
    struct lease_info lease;
    nft_lookup(enforcer->nft, addr, &lease);
    return policy_decide_addr(&layers, addr).layer == LAYER_POLICY && !lease.names[0];
}

static void log_event(struct enforcer *enforcer, enum log_event event, const char *msg, const char *source,
                      const struct buf *rules, size_t count)
{
    if (rules->failed || !log_begin(enforcer->log, LOG_INFO, event, msg))
        return;
    const char *action = policy_default(enforcer->policy) == ACTION_ALLOW ? "allow" : "deny";
    log_str(enforcer->log, "egress.default", action, strlen(action));
    if (source)
        log_str(enforcer->log, "source", source, strlen(source));
    policy_log_rules(enforcer->log, rules->data, rules->len, count);
    log_end(enforcer->log);
}

void enforcer_log_loaded(struct enforcer *enforcer, enum policy_source source)
{
    _cleanup_buf_ struct buf rules = {0};
    policy_rules_to_json(enforcer->policy, &rules);
    log_event(enforcer, LOG_LOADED, "egress policy loaded", policy_source_name(source), &rules,
              policy_count(enforcer->policy));
}

/* The rules of both files as one list: deny.always first, as they decide. */
static int copy_always(const struct always *always, struct rule_list *list)
{
    const struct policy *files[] = {always->deny, always->allow};
    for (size_t f = 0; f < 2; f++) {
        for (size_t i = 0; files[f] && i < policy_count(files[f]); i++) {
            int error = rule_list_copy(list, policy_rule(files[f], i));
            if (error)
                return error;
        }
    }
    return 0;
}

static void log_always_updated(struct enforcer *enforcer)
{
    _cleanup_buf_ struct buf rules = {0};
    struct rule_list *list;
    if (rule_list_new(&list))
        return;
    if (!copy_always(&enforcer->always, list)) {
        rules_to_json(list, &rules);
        log_event(enforcer, LOG_UPDATED, "egress policy updated", "always", &rules, rule_list_count(list));
    }
    rule_list_free(list);
}

static void reload_failed(struct enforcer *enforcer, bool again, const struct why *why)
{
    if (again)
        return;
    metric_add(enforcer->metrics, METRIC_ALWAYS_RELOAD_ERRORS, 1);
    if (!log_begin(enforcer->log, LOG_ERROR, LOG_UPDATE_FAILED, "egress policy update failed"))
        return;
    log_str(enforcer->log, "error", why->text, strlen(why->text));
    log_str(enforcer->log, "source", "always", strlen("always"));
    log_end(enforcer->log);
}

bool enforcer_reload_always(struct enforcer *enforcer, bool again)
{
    struct always always;
    struct why why = {"out of memory"};
    int error = always_read(enforcer->config, &always, &why);
    if (error) {
        reload_failed(enforcer, again, &why);
        return error == -EINVAL;
    }
    struct policy_layers layers = layers_of(enforcer->policy, &always);
    if (enforce(enforcer, &layers, &why)) {
        always_done(&always);
        reload_failed(enforcer, again, &why);
        return false;
    }
    enforcer_settle(enforcer, enforcer_settled, enforcer);
    dns_proxy_set_log_skip(enforcer->proxy, always.log_skip);
    always_done(&enforcer->always);
    enforcer->always = always;
    log_always_updated(enforcer);
    return true;
}

void enforcer_done(struct enforcer *enforcer)
{
    buf_done(&enforcer->kept);
    policy_layers_unref(&enforcer->preview.layers);
    policy_unref(enforcer->policy);
    always_done(&enforcer->always);
}
