#include "config.h"

#include "base/ip_ranges.h"
#include "base/text.h"
#include "base/url.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* One variable: what it is called, how it is read, and how it is shown. */
struct variable {
    const char *name;
    /* Parses the trimmed value; called only when there is one. 0 or a negative errno with `why`. */
    int (*parse)(struct config *config, const struct variable *variable, const char *value, struct why *why);
    const char *fallback; /* what holds when it is not set, for people */
    size_t offset;        /* of the field in struct config, for the generic parsers */
    unsigned min, max;    /* parse_tuning */
    bool secret;
    bool url; /* shown without what may be secret in it */
};

static int refuse(struct why *why, const struct variable *variable, const char *value, const char *expected)
{
    return why_set(why, -EINVAL, "%s=\"%s\": expected %s", variable->name, value, expected);
}

static int warn(struct config *config, const struct variable *variable, const char *value, const char *expected)
{
    char *line;
    if (asprintf(&line, "%s=\"%s\": expected %s; not used", variable->name, value, expected) < 0)
        return -ENOMEM;
    const char **warnings = realloc(config->warnings, (config->n_warnings + 1) * sizeof(*warnings));
    if (!warnings) {
        free(line);
        return -ENOMEM;
    }
    config->warnings = warnings;
    config->warnings[config->n_warnings++] = line;
    return 0;
}

static void drop(const char *text)
{
    free((void *)(uintptr_t)text);
}

static void *field(struct config *config, const struct variable *variable)
{
    return (char *)config + variable->offset;
}

/* --- lists --- */

/* Where the parts of a list go. */
struct list {
    struct config *config;
    const struct variable *variable;
    struct why *why;
    struct ip_prefix *prefixes; /* parse_blocklist */
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
        return refuse(list->why, list->variable, part,
                      "literal addresses: ip, ip:port, v6, [v6] or [v6]:port, comma separated");
    struct ip_addr ip = sock_addr_ip(&addr);
    if (!ip_is_unicast(&ip))
        return refuse(list->why, list->variable, part, "the address of one host");
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
        return refuse(list->why, list->variable, part, "IP addresses, comma separated");
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
    static const char *const reserved[] = {"level",      "ts",
                                           "logger",     "msg",
                                           "sandbox_id", "opensandbox.event",
                                           "result",     "proto",
                                           "family",     "cpu.mode",
                                           "error.type", "http.request.method",
                                           "http.route", "http.response.status_code"};
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
        drop(config->extra_attrs[i].value);
        config->extra_attrs[i].value = pair->value;
        drop(pair->key);
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
        error = warn(config, list->variable, part, "a key that log lines and data points do not have already");
        skip = true;
    }
    if (!error && !skip && replace_attribute(config, &pair))
        return 0;
    if (!error && !skip)
        error = append(&config->extra_attrs, &config->n_extra_attrs, &pair, sizeof(pair));
    if (error || skip) {
        drop(pair.key);
        drop(pair.value);
    }
    return error;
}

/* --- parsers --- */

static int parse_text(struct config *config, const struct variable *variable, const char *value, struct why *why)
{
    const char **text = field(config, variable);
    *text = strdup(value);
    return *text ? 0 : -ENOMEM;
}

static int parse_switch(struct config *config, const struct variable *variable, const char *value, struct why *why)
{
    if (!text_truthy(value) && !text_falsy(value))
        return refuse(why, variable, value, "on or off");
    *(bool *)field(config, variable) = text_truthy(value);
    return 0;
}

/* A tuning number: one that cannot be parsed is a warning. */
static int parse_tuning(struct config *config, const struct variable *variable, const char *value, struct why *why)
{
    if (text_whole_number(value, variable->min, variable->max, field(config, variable)))
        return 0;
    char expected[64];
    snprintf(expected, sizeof(expected), "a whole number from %u to %u", variable->min, variable->max);
    return warn(config, variable, value, expected);
}

static int add_mode(void *ctx, const char *token)
{
    bool *seen = ctx; /* dns, nft */
    static const char *const tokens[] = {"dns", "nft"};
    for (size_t i = 0; i < 2; i++) {
        if (!strcasecmp(token, tokens[i])) {
            seen[i] = true;
            return 0;
        }
    }
    return -EINVAL;
}

static int parse_mode(struct config *config, const struct variable *variable, const char *value, struct why *why)
{
    bool seen[2] = {false, false};
    int error = text_split(value, '+', add_mode, seen);
    if (error == -EINVAL || (!error && !seen[0]))
        return refuse(why, variable, value, "dns or dns+nft");
    config->filter = seen[1];
    config->mode = seen[1] ? "dns+nft" : "dns";
    return error;
}

static int parse_http_addr(struct config *config, const struct variable *variable, const char *value, struct why *why)
{
    char *with_host;
    config->http_any = value[0] == ':';
    if (asprintf(&with_host, "%s%s", config->http_any ? "[::]" : "", value) < 0)
        return -ENOMEM;
    /* Port 0 is none: an address without a port is refused by it. */
    int error = sock_addr_parse(with_host, 0, &config->http_addr);
    if (!error && !sock_addr_port(&config->http_addr))
        error = -EINVAL;
    free(with_host);
    return error ? refuse(why, variable, value, ":PORT, ip:PORT or [v6]:PORT") : 0;
}

static int parse_dns_port(struct config *config, const struct variable *variable, const char *value, struct why *why)
{
    unsigned port;
    if (!text_whole_number(value, 1, 65535, &port))
        return refuse(why, variable, value, "a port from 1 to 65535");
    config->dns_port = (uint16_t)port;
    return 0;
}

static int parse_upstreams(struct config *config, const struct variable *variable, const char *value, struct why *why)
{
    int error = parse_list(config, variable, value, why, add_upstream);
    if (!error && !config->n_upstreams)
        return refuse(why, variable, value, "at least one address");
    if (!error && config->n_upstreams > 16)
        return refuse(why, variable, value, "at most 16 addresses");
    return error;
}

static int parse_exempt(struct config *config, const struct variable *variable, const char *value, struct why *why)
{
    return parse_list(config, variable, value, why, add_exempt);
}

static int parse_outputs(struct config *config, const struct variable *variable, const char *value, struct why *why)
{
    return parse_list(config, variable, value, why, add_output);
}

static int parse_attributes(struct config *config, const struct variable *variable, const char *value, struct why *why)
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
        return refuse(list->why, list->variable, part, "addresses and CIDRs, comma separated");
    return append(&list->prefixes, &list->n_prefixes, &prefix, sizeof(prefix));
}

static int parse_blocklist(struct config *config, const struct variable *variable, const char *value, struct why *why)
{
    struct list list = {config, variable, why};
    int error = text_split(value, ',', add_blocked, &list);
    if (!error)
        error = ip_ranges_build(list.prefixes, list.n_prefixes, &config->doh_blocklist);
    free(list.prefixes);
    return error;
}

static int parse_max_rules(struct config *config, const struct variable *variable, const char *value, struct why *why)
{
    unsigned number;
    if (!text_whole_number(value, 0, INT_MAX, &number))
        return warn(config, variable, value, "a whole number, 0 = no limit");
    config->max_rules = number;
    return 0;
}

static int parse_log_level(struct config *config, const struct variable *variable, const char *value, struct why *why)
{
    static const struct {
        const char *word;
        enum log_level level;
    } levels[] = {{"debug", LOG_DEBUG},  {"info", LOG_INFO},   {"warn", LOG_WARN},
                  {"warning", LOG_WARN}, {"error", LOG_ERROR}, {"fatal", LOG_FATAL}};
    for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++) {
        if (!strcasecmp(value, levels[i].word)) {
            config->log_level = levels[i].level;
            return 0;
        }
    }
    return warn(config, variable, value, "debug, info, warn, error or fatal");
}

static int parse_on_exit(struct config *config, const struct variable *variable, const char *value, struct why *why)
{
    if (strcasecmp(value, "keep") && strcasecmp(value, "remove"))
        return refuse(why, variable, value, "keep or remove");
    config->remove_on_exit = !strcasecmp(value, "remove");
    return 0;
}

static int parse_webhook(struct config *config, const struct variable *variable, const char *value, struct why *why)
{
    struct url url;
    char shown[URL_SHOWN_MAX];
    if (url_parse(value, &url))
        return refuse(why, variable, url_shown(value, shown),
                      "an http:// or https:// URL with a host: a name in ASCII, an IPv4 address or an [IPv6] one");
    config->webhook = strdup(value);
    return config->webhook ? 0 : -ENOMEM;
}

static int refuse_interception(struct config *config, const struct variable *variable, const char *value,
                               struct why *why)
{
    if (!text_truthy(value))
        return 0;
    return refuse(why, variable, value, "nothing: transparent interception is not part of this sidecar");
}

static int parse_nothing(struct config *config, const struct variable *variable, const char *value, struct why *why)
{
    return 0;
}

#define HOST_NETWORK_VARIABLE "OPENSANDBOX_EGRESS_ALLOW_HOST_NETWORK" /* read by config_allows_host_network() */
#define DEFAULT_RULES_DIR "/var/egress/rules"
#define FIELD(name) .offset = offsetof(struct config, name)

static const struct variable variables[] = {
    {"OPENSANDBOX_EGRESS_MODE", parse_mode, "dns"},
    {"OPENSANDBOX_EGRESS_RULES", parse_text, "(deny all)", FIELD(rules)},
    {"OPENSANDBOX_EGRESS_POLICY_FILE", parse_text, "(none)", FIELD(policy_file)},
    {"OPENSANDBOX_EGRESS_RULES_DIR", parse_text, DEFAULT_RULES_DIR, FIELD(rules_dir)},
    {"OPENSANDBOX_EGRESS_HTTP_ADDR", parse_http_addr, ":18080"},
    {"OPENSANDBOX_EGRESS_TOKEN", parse_text, "(none)", FIELD(token), .secret = true},
    {"OPENSANDBOX_EGRESS_MAX_RULES", parse_max_rules, "4096"},
    {"OPENSANDBOX_EGRESS_DNS_PORT", parse_dns_port, "15353"},
    {"OPENSANDBOX_EGRESS_DNS_UPSTREAM", parse_upstreams, "(from /etc/resolv.conf)"},
    {"OPENSANDBOX_EGRESS_DNS_UPSTREAM_TIMEOUT", parse_tuning, "5", FIELD(upstream_timeout_s), .min = 1, .max = 120},
    {"OPENSANDBOX_EGRESS_DNS_UPSTREAM_PROBE", parse_text, ".", FIELD(upstream_probe)},
    {"OPENSANDBOX_EGRESS_DNS_UPSTREAM_PROBE_INTERVAL_SEC", parse_tuning, "30", FIELD(upstream_probe_interval_s),
     .min = 1, .max = 3600},
    {"OPENSANDBOX_EGRESS_NAMESERVER_EXEMPT", parse_exempt, "(none)"},
    {"OPENSANDBOX_EGRESS_BLOCK_DOH_443", parse_switch, "off", FIELD(block_doh_443)},
    {"OPENSANDBOX_EGRESS_DOH_BLOCKLIST", parse_blocklist, "(none)"},
    {"OPENSANDBOX_EGRESS_DENY_WEBHOOK", parse_webhook, "(none)", .url = true},
    {"OPENSANDBOX_EGRESS_SANDBOX_ID", parse_text, "(none)", FIELD(sandbox_id)},
    {"OPENSANDBOX_EGRESS_METRICS_EXTRA_ATTRS", parse_attributes, "(none)"},
    {"OPENSANDBOX_EGRESS_LOG_LEVEL", parse_log_level, "info"},
    {"OPENSANDBOX_LOG_OUTPUT", parse_outputs, "stdout"},
    {"OPENSANDBOX_EGRESS_ON_EXIT", parse_on_exit, "keep"},
    {"OPENSANDBOX_EGRESS_DRAIN_SEC", parse_tuning, "0", FIELD(drain_s), .min = 0, .max = 3600},
    {HOST_NETWORK_VARIABLE, parse_nothing, "off"},
    {"OPENSANDBOX_EGRESS_MAX_ADDRESSES", parse_tuning, "262144", FIELD(max_addresses), .min = 16, .max = 4194304},
    {"OPENSANDBOX_EGRESS_MITMPROXY_TRANSPARENT", refuse_interception, "off"},
};

#define N_VARIABLES (sizeof(variables) / sizeof(variables[0]))

/* Parses the variable and notes what is in force: its value, or the default when it is not set or not usable. */
static int parse_variable(struct config *config, size_t i, struct why *why)
{
    const struct variable *variable = &variables[i];
    const char *raw = getenv(variable->name);
    char *value = text_trimmed(raw ? raw : "", raw ? strlen(raw) : 0);
    if (!value)
        return -ENOMEM;
    size_t warnings = config->n_warnings;
    bool set = *value != '\0';
    int error = set ? variable->parse(config, variable, value, why) : 0;
    if (!set || config->n_warnings > warnings) {
        free(value);
        value = strdup(variable->fallback);
    }
    config->shown[i] = value;
    return error || value ? error : -ENOMEM;
}

void config_print(const struct config *config)
{
    for (size_t i = 0; i < N_VARIABLES; i++) {
        const char *value = config->shown[i];
        char url[URL_SHOWN_MAX];
        if (strcmp(value, variables[i].fallback))
            value = variables[i].secret ? "(hidden)" : variables[i].url ? url_shown(value, url) : value;
        printf("%s=%s\n", variables[i].name, value);
    }
}

int config_from_env(struct config **ret, struct why *why)
{
    struct config *config = malloc(sizeof(*config));
    if (!config)
        return why_set(why, -ENOMEM, "out of memory");
    *config = (struct config){
        .mode = "dns",
        .http_any = true,
        .max_rules = 4096,
        .dns_port = 15353,
        .upstream_timeout_s = 5,
        .upstream_probe_interval_s = 30,
        .log_level = LOG_INFO,
        .max_addresses = 262144,
    };
    sock_addr_parse("[::]:18080", 0, &config->http_addr);
    why_set(why, 0, "out of memory"); /* the one failure that says nothing of its own */
    config->shown = calloc(N_VARIABLES, sizeof(*config->shown));
    int error = config->shown ? 0 : -ENOMEM;
    for (size_t i = 0; i < N_VARIABLES && !error; i++)
        error = parse_variable(config, i, why);
    if (!error && !config->rules_dir)
        error = (config->rules_dir = strdup(DEFAULT_RULES_DIR)) ? 0 : -ENOMEM;
    if (!error && !config->n_log_outputs)
        error = parse_list(config, NULL, "stdout", why, add_output);
    if (error) {
        config_free(config);
        return error;
    }
    *ret = config;
    return 0;
}

bool config_allows_host_network(void)
{
    const char *raw = getenv(HOST_NETWORK_VARIABLE);
    char *value = raw ? text_trimmed(raw, strlen(raw)) : NULL;
    bool allowed = value && text_truthy(value);
    free(value);
    return allowed;
}

void config_free(struct config *config)
{
    if (!config)
        return;
    drop(config->rules);
    drop(config->policy_file);
    drop(config->rules_dir);
    drop(config->upstream_probe);
    drop(config->token);
    drop(config->webhook);
    drop(config->sandbox_id);
    for (size_t i = 0; i < config->n_extra_attrs; i++) {
        drop(config->extra_attrs[i].key);
        drop(config->extra_attrs[i].value);
    }
    for (size_t i = 0; i < config->n_log_outputs; i++)
        drop(config->log_outputs[i]);
    for (size_t i = 0; i < config->n_warnings; i++)
        drop(config->warnings[i]);
    for (size_t i = 0; config->shown && i < N_VARIABLES; i++)
        drop(config->shown[i]);
    free(config->shown);
    free(config->extra_attrs);
    free(config->log_outputs);
    free(config->warnings);
    free(config->upstreams);
    free(config->exempt);
    ip_ranges_done(&config->doh_blocklist);
    free(config);
}
