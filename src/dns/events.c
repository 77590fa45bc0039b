#include "dns/events.h"

#include <string.h>

#define LOGGED_IPS_MAX 64 /* what a line can hold with room to spare */

static bool begin_outbound(struct log *log, const struct policy *skip, const struct dns_question *question)
{
    if (!log_wants(log, LOG_INFO) || (skip && policy_match_name(skip, question->name, question->name_len)) ||
        !log_begin(log, LOG_INFO, LOG_OUTBOUND, "egress outbound"))
        return false;
    log_name(log, "target.host", question->name, question->name_len);
    return true;
}

void event_outbound(struct log *log, const struct policy *skip, const struct dns_question *question,
                    const struct learned *addresses, size_t n, uint64_t latency_ns)
{
    if (!begin_outbound(log, skip, question))
        return;
    if (n) {
        struct ip_addr ips[LOGGED_IPS_MAX];
        n = n < LOGGED_IPS_MAX ? n : LOGGED_IPS_MAX;
        for (size_t i = 0; i < n; i++)
            ips[i] = addresses[i].addr;
        log_ips(log, "target.ips", ips, n);
    }
    log_int(log, "latency_ms", (int64_t)(latency_ns / NS_PER_MS));
    log_end(log);
}

void event_outbound_kept(struct log *log, const struct policy *skip, const struct dns_question *question,
                         const struct dns_found *found, size_t n)
{
    if (!begin_outbound(log, skip, question))
        return;
    struct ip_addr ips[LOGGED_IPS_MAX];
    n = n < LOGGED_IPS_MAX ? n : LOGGED_IPS_MAX;
    for (size_t i = 0; i < n; i++)
        ips[i] = found[i].addr;
    if (n)
        log_ips(log, "target.ips", ips, n);
    log_str(log, "cache", "hit", 3);
    log_end(log);
}

void event_outbound_failed(struct log *log, const struct dns_question *question, const char *error)
{
    if (!log_begin(log, LOG_INFO, LOG_OUTBOUND, "egress outbound"))
        return;
    log_name(log, "target.host", question->name, question->name_len);
    log_str(log, "error", error, strlen(error));
    log_end(log);
}

void event_denied(struct log *log, enum log_level level, const struct dns_question *question,
                  const struct decision *decision, const char *reason, bool audit)
{
    if (!log_begin(log, level, LOG_DENIED, "egress denied"))
        return;
    const char *rule = decision->rule ? decision->rule->text : "default";
    log_name(log, "target.host", question->name, question->name_len);
    log_str(log, "rule", rule, strlen(rule));
    if (reason)
        log_str(log, "reason", reason, strlen(reason));
    if (audit)
        log_bool(log, "audit", true);
    log_end(log);
}

void event_rebinding(struct log *log, const struct dns_question *question, const struct rebinding *rebinding,
                     bool audit)
{
    static const char rule[] = "rebinding guard";
    if (!log_begin(log, LOG_INFO, LOG_DENIED, "egress denied"))
        return;
    size_t n = rebinding->n_refused < REBINDING_SHOWN_MAX ? rebinding->n_refused : REBINDING_SHOWN_MAX;
    log_name(log, "target.host", question->name, question->name_len);
    log_str(log, "rule", rule, sizeof(rule) - 1);
    log_ips(log, "target.ips", rebinding->refused, n);
    if (audit)
        log_bool(log, "audit", true);
    log_end(log);
}
