#include "config.h"

#include "base/ip_ranges.h"
#include "base/local_socket.h"
#include "base/text.h"
#include "base/url.h"
#include "config_lists.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HOST_NETWORK_VARIABLE "OPENSANDBOX_EGRESS_ALLOW_HOST_NETWORK" /* read by config_allows_host_network() */
#define DEFAULT_RULES_DIR "/var/egress/rules"
#define FIELD(name) .offset = offsetof(struct config, name)

static const struct variable variables[] = {
    {"OPENSANDBOX_EGRESS_MODE", config_parse_mode, "dns"},
    {"OPENSANDBOX_EGRESS_RULES", config_parse_text, "(deny all)", FIELD(rules)},
    {"OPENSANDBOX_EGRESS_BAD_RULES", config_parse_bad_rules, "exit"},
    {"OPENSANDBOX_EGRESS_POLICY_FILE", config_parse_text, "(none)", FIELD(policy_file)},
    {"OPENSANDBOX_EGRESS_RULES_DIR", config_parse_text, DEFAULT_RULES_DIR, FIELD(rules_dir)},
    {"OPENSANDBOX_EGRESS_HTTP_ADDR", config_parse_http_addr, ":18080"},
    {"OPENSANDBOX_EGRESS_API_SOCKET", config_parse_api_socket, LOCAL_SOCKET_OF_API},
    {"OPENSANDBOX_EGRESS_API_HOSTS", config_parse_api_hosts, "(none)"},
    {"OPENSANDBOX_EGRESS_TLS_CERT", config_parse_text, "(none)", FIELD(tls_cert)},
    {"OPENSANDBOX_EGRESS_TLS_KEY", config_parse_text, "(none)", FIELD(tls_key)},
    {"OPENSANDBOX_EGRESS_TLS_CLIENT_CA", config_parse_text, "(none)", FIELD(tls_client_ca)},
    {"OPENSANDBOX_EGRESS_TOKEN", config_parse_text, "(none)", FIELD(token), .secret = true},
    {"OPENSANDBOX_EGRESS_MAX_RULES", config_parse_max_rules, "4096"},
    {"OPENSANDBOX_EGRESS_DNS_PORT", config_parse_dns_port, "15353"},
    {"OPENSANDBOX_EGRESS_DNS_UPSTREAM", config_parse_upstreams, "(from /etc/resolv.conf)"},
    {"OPENSANDBOX_EGRESS_DNS_UPSTREAM_TIMEOUT", config_parse_tuning, "5", FIELD(upstream_timeout_s), .min = 1,
     .max = 120},
    {"OPENSANDBOX_EGRESS_DNS_0X20", config_parse_switch, "on", FIELD(dns_0x20)},
    {"OPENSANDBOX_EGRESS_DNS_UPSTREAM_PROBE", config_parse_text, ".", FIELD(upstream_probe)},
    {"OPENSANDBOX_EGRESS_DNS_UPSTREAM_PROBE_INTERVAL_SEC", config_parse_tuning, "30", FIELD(upstream_probe_interval_s),
     .min = 1, .max = 3600},
    {"OPENSANDBOX_EGRESS_NAMESERVER_EXEMPT", config_parse_exempt, "(none)"},
    {"OPENSANDBOX_EGRESS_BLOCK_DOH_443", config_parse_switch, "off", FIELD(block_doh_443)},
    {"OPENSANDBOX_EGRESS_DOH_BLOCKLIST", config_parse_blocklist, "(none)"},
    {"OPENSANDBOX_EGRESS_DENY_WEBHOOK", config_parse_webhook, "(none)", .url = true},
    {"OPENSANDBOX_EGRESS_SANDBOX_ID", config_parse_text, "(none)", FIELD(sandbox_id)},
    {"OPENSANDBOX_EGRESS_METRICS_EXTRA_ATTRS", config_parse_attributes, "(none)"},
    {"OPENSANDBOX_EGRESS_LOG_LEVEL", config_parse_log_level, "info"},
    {"OPENSANDBOX_LOG_OUTPUT", config_parse_outputs, "stdout"},
    {"OPENSANDBOX_EGRESS_ON_EXIT", config_parse_on_exit, "keep"},
    {"OPENSANDBOX_EGRESS_DRAIN_SEC", config_parse_tuning, "0", FIELD(drain_s), .min = 0, .max = 3600},
    {"OPENSANDBOX_EGRESS_WATCHDOG_SEC", config_parse_tuning, "10", FIELD(watchdog_s), .min = 0, .max = 3600},
    {HOST_NETWORK_VARIABLE, config_parse_nothing, "off"},
    {"OPENSANDBOX_EGRESS_MAX_ADDRESSES", config_parse_tuning, "262144", FIELD(max_addresses), .min = 16, .max = 4194304,
     .memory_part = 8192},
    {"OPENSANDBOX_EGRESS_DNS_CACHE", config_parse_tuning, "4096", FIELD(dns_cache), .min = 0, .max = 262144},
    {"OPENSANDBOX_EGRESS_DNS_MAX_INFLIGHT", config_parse_tuning, "8192", FIELD(dns_inflight), .min = 64, .max = 32768},
    {"OPENSANDBOX_EGRESS_DNS_TCP_MAX_CONNECTIONS", config_parse_tuning, "256", FIELD(tcp_connections), .min = 4,
     .max = 16384},
    {"OPENSANDBOX_EGRESS_DNS_TCP_MAX_PIPELINED", config_parse_tuning, "32", FIELD(tcp_pipelined), .min = 1,
     .max = 4096},
    {"OPENSANDBOX_EGRESS_DNS_TCP_MAX_UNSENT_KIB", config_parse_tuning, "16384", FIELD(tcp_unsent_kib), .min = 64,
     .max = 1048576, .memory_part = 8192},
    {"OPENSANDBOX_EGRESS_HTTP_MAX_CONNECTIONS", config_parse_tuning, "96", FIELD(http_connections), .min = 4,
     .max = 1024},
    {"OPENSANDBOX_EGRESS_DNS_NAMES_PER_MINUTE", config_parse_bound, "0", FIELD(names_per_minute), .min = 0,
     .max = 1000000},
    {"OPENSANDBOX_EGRESS_UI", config_parse_switch, "on", FIELD(ui)},
    {"OPENSANDBOX_EGRESS_MITMPROXY_TRANSPARENT", config_refuse_interception, "off"},
};

#define N_VARIABLES (sizeof(variables) / sizeof(variables[0]))

_Static_assert(N_VARIABLES <= 64, "config.given has a bit for each");

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
    config->given |= (uint64_t)(set && config->n_warnings == warnings) << i;
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
        .dns_0x20 = true,
        .upstream_probe_interval_s = 30,
        .log_level = LOG_INFO,
        .watchdog_s = 10,
        .max_addresses = 262144,
        .dns_cache = 4096,
        .dns_inflight = 8192,
        .tcp_connections = 256,
        .tcp_pipelined = 32,
        .tcp_unsent_kib = 16384,
        .http_connections = 96,
        .ui = true,
    };
    const char *socket = strdup(LOCAL_SOCKET_OF_API);
    config->http_socket = socket;
    sock_addr_parse("[::]:18080", 0, &config->http_addr);
    why_set(why, 0, "out of memory"); /* the one failure that says nothing of its own */
    config->shown = calloc(N_VARIABLES, sizeof(*config->shown));
    int error = config->shown && socket ? 0 : -ENOMEM;
    for (size_t i = 0; i < N_VARIABLES && !error; i++)
        error = parse_variable(config, i, why);
    if (!error && (!config->tls_cert != !config->tls_key || (config->tls_client_ca && !config->tls_cert)))
        error = why_set(why, -EINVAL,
                        "OPENSANDBOX_EGRESS_TLS_CERT, OPENSANDBOX_EGRESS_TLS_KEY: expected both or none of them, and "
                        "both with OPENSANDBOX_EGRESS_TLS_CLIENT_CA");
    if (!error && !config->rules_dir)
        error = (config->rules_dir = strdup(DEFAULT_RULES_DIR)) ? 0 : -ENOMEM;
    if (!error && !config->n_log_outputs)
        error = config_parse_outputs(config, NULL, "stdout", why);
    if (error) {
        config_free(config);
        return error;
    }
    *ret = config;
    return 0;
}

void config_fit(struct config *config, uint64_t memory)
{
    for (size_t i = 0; i < N_VARIABLES; i++) {
        const struct variable *variable = &variables[i];
        unsigned *value = (unsigned *)((char *)config + variable->offset);
        if (!variable->memory_part || config->given >> i & 1 || memory / variable->memory_part >= *value)
            continue;
        unsigned fit = (unsigned)(memory / variable->memory_part);
        *value = fit < variable->min ? variable->min : fit;
        char *shown;
        if (asprintf(&shown, "%u", *value) >= 0) {
            config_drop(config->shown[i]);
            config->shown[i] = shown;
        }
    }
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
    config_drop(config->rules);
    config_drop(config->policy_file);
    config_drop(config->rules_dir);
    config_drop(config->upstream_probe);
    config_drop(config->http_socket);
    config_drop(config->api_hosts);
    config_drop(config->tls_cert);
    config_drop(config->tls_key);
    config_drop(config->tls_client_ca);
    config_drop(config->token);
    config_drop(config->webhook);
    config_drop(config->sandbox_id);
    for (size_t i = 0; i < config->n_extra_attrs; i++) {
        config_drop(config->extra_attrs[i].key);
        config_drop(config->extra_attrs[i].value);
    }
    for (size_t i = 0; i < config->n_log_outputs; i++)
        config_drop(config->log_outputs[i]);
    for (size_t i = 0; i < config->n_warnings; i++)
        config_drop(config->warnings[i]);
    for (size_t i = 0; config->shown && i < N_VARIABLES; i++)
        config_drop(config->shown[i]);
    free(config->shown);
    free(config->extra_attrs);
    free(config->log_outputs);
    free(config->warnings);
    free(config->upstreams);
    free(config->exempt);
    ip_ranges_done(&config->doh_blocklist);
    free(config);
}
