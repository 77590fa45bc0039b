#include "config_lists.h"

#include "base/ip_ranges.h"
#include "base/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Where the parts of a list go. */
struct list {
    struct config *config;
    const struct variable *variable;
    struct why *why;
    struct ip_prefix *prefixes; /* config_parse_blocklist */
    size_t n_prefixes;
};

static int parse_list(struct config *config, const struct variable *variable, const char *value, struct why *why,
                      int (*add)(void *list, const char *part))
{
    struct list list = {config, variable, why};
    return text_split(value, ',', add, &list);
}

/* A copy of `array` with one element more; the old one is freed. NULL and the old one kept when memory is short. */
static int append(void *array_slot, size_t *n, const void *element, size_t size)
{
    void **slot = array_slot;
    char *array = reallocarray(*slot, *n + 1, size);
    if (!array)
        return -ENOMEM;
    *slot = array;
    memcpy(array + *n * size, element, size);
    (*n)++;
    return 0;
}

static int add_upstream(void *ctx, const char *part)
{
    struct list *list = ctx;
    struct config *config = list->config;
    if (!*part)
        return 0;
    struct sock_addr addr;
    if (sock_addr_parse(part, 53, &addr))
        return config_refuse(list->why, list->variable, part,
                             "literal addresses: ip, ip:port, v6, [v6] or [v6]:port, comma separated");
    struct ip_addr ip = sock_addr_ip(&addr);
    if (!ip_is_unicast(&ip))
        return config_refuse(list->why, list->variable, part, "the address of one host");
    for (size_t i = 0; i < config->n_upstreams; i++)
        if (sock_addr_equal(&config->upstreams[i], &addr))
            return 0;
    return append(&config->upstreams, &config->n_upstreams, &addr, sizeof(addr));
}

static int add_exempt(void *ctx, const char *part)
{
    struct list *list = ctx;
    struct config *config = list->config;
    if (!*part)
        return 0;
    struct ip_addr addr;
    if (ip_parse(part, &addr))
        return config_refuse(list->why, list->variable, part, "IP addresses, comma separated");
    return append(&config->exempt, &config->n_exempt, &addr, sizeof(addr));
}

static int add_output(void *ctx, const char *part)
{
    struct list *list = ctx;
    struct config *config = list->config;
    if (!*part)
        return 0;
    char *copy = strdup(part);
    if (!copy || append(&config->log_outputs, &config->n_log_outputs, &copy, sizeof(copy))) {
        free(copy);
        return -ENOMEM;
    }
    return 0;
}

/* Keys that log lines or data points have: a second one would hide what they say. */
static bool is_reserved(const char *key)
{
    static const char *const reserved[] = {"level",
                                           "ts",
                                           "logger",
                                           "msg",
                                           "sandbox_id",
                                           "opensandbox.event",
                                           "audit",
                                           "cache",
                                           "delay",
                                           "denials",
                                           "dropped",
                                           "duration",
                                           "egress.default",
                                           "error",
                                           "latency_ms",
                                           "lost",
                                           "network.peer.port",
                                           "network.transport",
                                           "output",
                                           "peer",
                                           "process.exit.code",
                                           "process.pid",
                                           "reason",
                                           "rule",
                                           "rules",
                                           "rules_count",
                                           "rules_digest",
                                           "signal",
                                           "silence",
                                           "source",
                                           "starts",
                                           "suppressed",
                                           "target.host",
                                           "target.ips",
                                           "uptime",
                                           "window",
                                           "result",
                                           "proto",
                                           "family",
                                           "limit",
                                           "cpu.mode",
                                           "error.type",
                                           "http.request.method",
                                           "http.route",
                                           "http.response.status_code",
                                           "otel.metric.overflow"};
    for (size_t i = 0; i < sizeof(reserved) / sizeof(reserved[0]); i++)
        if (!strcmp(key, reserved[i]))
            return true;
    return false;
}

/* Of equal keys the last one counts. Takes the value over when there is one already. */
static bool replace_attribute(struct config *config, const struct config_pair *pair)
{
    for (size_t i = 0; i < config->n_extra_attrs; i++) {
        if (strcmp(config->extra_attrs[i].key, pair->key))
            continue;
        config_drop(config->extra_attrs[i].value);
        config->extra_attrs[i].value = pair->value;
        config_drop(pair->key);
        return true;
    }
    return false;
}

static int add_attribute(void *ctx, const char *part)
{
    struct list *list = ctx;
    struct config *config = list->config;
    if (!*part)
        return 0;
    const char *equals = strchr(part, '=');
    if (!equals)
        return 0;
    struct config_pair pair = {text_trimmed(part, (size_t)(equals - part)),
                               text_trimmed(equals + 1, strlen(equals + 1))};
    bool skip = pair.key && pair.value && (!*pair.key || !*pair.value);
    int error = !pair.key || !pair.value ? -ENOMEM : 0;
    if (!error && is_reserved(pair.key)) {
        error = config_warn(config, list->variable, part, "a key that log lines and data points do not have already");
        skip = true;
    }
    if (!error && !skip && replace_attribute(config, &pair))
        return 0;
    if (!error && !skip)
        error = append(&config->extra_attrs, &config->n_extra_attrs, &pair, sizeof(pair));
    if (error || skip) {
        config_drop(pair.key);
        config_drop(pair.value);
    }
    return error;
}

int config_parse_upstreams(struct config *config, const struct variable *variable, const char *value, struct why *why)
{
    int error = parse_list(config, variable, value, why, add_upstream);
    if (!error && !config->n_upstreams)
        return config_refuse(why, variable, value, "at least one address");
    if (!error && config->n_upstreams > 16)
        return config_refuse(why, variable, value, "at most 16 addresses");
    return error;
}

int config_parse_exempt(struct config *config, const struct variable *variable, const char *value, struct why *why)
{
    return parse_list(config, variable, value, why, add_exempt);
}

int config_parse_outputs(struct config *config, const struct variable *variable, const char *value, struct why *why)
{
    return parse_list(config, variable, value, why, add_output);
}

int config_parse_attributes(struct config *config, const struct variable *variable, const char *value, struct why *why)
{
    return parse_list(config, variable, value, why, add_attribute);
}

static int add_blocked(void *ctx, const char *part)
{
    struct list *list = ctx;
    struct ip_prefix prefix;
    if (!*part)
        return 0;
    if (ip_prefix_parse(part, &prefix))
        return config_refuse(list->why, list->variable, part, "addresses and CIDRs, comma separated");
    return append(&list->prefixes, &list->n_prefixes, &prefix, sizeof(prefix));
}

int config_parse_blocklist(struct config *config, const struct variable *variable, const char *value, struct why *why)
{
    struct list list = {config, variable, why};
    int error = text_split(value, ',', add_blocked, &list);
    if (!error)
        error = ip_ranges_build(list.prefixes, list.n_prefixes, &config->doh_blocklist);
    free(list.prefixes);
    return error;
}
