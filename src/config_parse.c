#include "config_parse.h"

#include "base/local_socket.h"
#include "base/text.h"
#include "base/url.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

int config_refuse(struct why *why, const struct variable *variable, const char *value, const char *expected)
{
    return why_set(why, -EINVAL, "%s=\"%s\": expected %s", variable->name, value, expected);
}

int config_warn(struct config *config, const struct variable *variable, const char *value, const char *expected)
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

void config_drop(const char *text)
{
    free((void *)(uintptr_t)text);
}

static void *field(struct config *config, const struct variable *variable)
{
    return (char *)config + variable->offset;
}

int config_parse_text(struct config *config, const struct variable *variable, const char *value, struct why *why)
{
    const char **text = field(config, variable);
    *text = strdup(value);
    return *text ? 0 : -ENOMEM;
}

int config_parse_switch(struct config *config, const struct variable *variable, const char *value, struct why *why)
{
    if (!text_truthy(value) && !text_falsy(value))
        return config_refuse(why, variable, value, "on or off");
    *(bool *)field(config, variable) = text_truthy(value);
    return 0;
}

/* Whether it is a number in the variable's bounds; else `expected` says what these are. */
static bool parse_number(struct config *config, const struct variable *variable, const char *value, char expected[64])
{
    if (text_whole_number(value, variable->min, variable->max, field(config, variable)))
        return true;
    snprintf(expected, 64, "a whole number from %u to %u", variable->min, variable->max);
    return false;
}

/* A tuning number: one that cannot be parsed is a warning. */
int config_parse_tuning(struct config *config, const struct variable *variable, const char *value, struct why *why)
{
    char expected[64];
    return parse_number(config, variable, value, expected) ? 0 : config_warn(config, variable, value, expected);
}

int config_parse_bound(struct config *config, const struct variable *variable, const char *value, struct why *why)
{
    char expected[64];
    return parse_number(config, variable, value, expected) ? 0 : config_refuse(why, variable, value, expected);
}

enum mode_token { MODE_DNS, MODE_NFT, MODE_AUDIT, MODE_TOKENS };

static int add_mode(void *ctx, const char *token)
{
    bool *seen = ctx;
    static const char *const tokens[MODE_TOKENS] = {"dns", "nft", "audit"};
    for (size_t i = 0; i < MODE_TOKENS; i++) {
        if (!strcasecmp(token, tokens[i])) {
            seen[i] = true;
            return 0;
        }
    }
    return -EINVAL;
}

int config_parse_mode(struct config *config, const struct variable *variable, const char *value, struct why *why)
{
    static const char *const modes[2][2] = {{"dns", "dns+audit"}, {"dns+nft", "dns+nft+audit"}};
    bool seen[MODE_TOKENS] = {false};
    int error = text_split(value, '+', add_mode, seen);
    if (error == -EINVAL || (!error && !seen[MODE_DNS]))
        return config_refuse(why, variable, value, "dns or dns+nft, either with +audit");
    config->filter = seen[MODE_NFT];
    config->audit = seen[MODE_AUDIT];
    config->mode = modes[config->filter][config->audit];
    return error;
}

static int take_socket(struct config *config, const struct variable *variable, const char *path, struct why *why)
{
    if (!local_socket_path_is_valid(path))
        return config_refuse(why, variable, path, "an absolute path of at most 107 octets");
    char *copy = strdup(path);
    if (!copy)
        return -ENOMEM;
    config_drop(config->http_socket);
    config->http_socket = copy;
    return 0;
}

int config_parse_http_addr(struct config *config, const struct variable *variable, const char *value, struct why *why)
{
    char *with_host;
    if (!strncmp(value, LOCAL_SOCKET_PREFIX, strlen(LOCAL_SOCKET_PREFIX))) {
        config->http_socket_only = true;
        return take_socket(config, variable, value + strlen(LOCAL_SOCKET_PREFIX), why);
    }
    config->http_any = value[0] == ':';
    if (asprintf(&with_host, "%s%s", config->http_any ? "[::]" : "", value) < 0)
        return -ENOMEM;
    /* Port 0 is none: an address without a port is refused by it. */
    int error = sock_addr_parse(with_host, 0, &config->http_addr);
    if (!error && !sock_addr_port(&config->http_addr))
        error = -EINVAL;
    free(with_host);
    return error ? config_refuse(why, variable, value, ":PORT, ip:PORT, [v6]:PORT or unix:/PATH") : 0;
}

/* After HTTP_ADDR, which counts when it names a socket. */
int config_parse_api_socket(struct config *config, const struct variable *variable, const char *value, struct why *why)
{
    if (config->http_socket_only)
        return 0;
    if (!text_falsy(value))
        return take_socket(config, variable, value, why);
    config_drop(config->http_socket);
    config->http_socket = NULL;
    return 0;
}

int config_parse_api_hosts(struct config *config, const struct variable *variable, const char *value, struct why *why)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_., \t";
    if (value[strspn(value, letters)])
        return config_refuse(why, variable, value, "names of hosts, comma separated, without ports");
    config->api_hosts = strdup(value);
    return config->api_hosts ? 0 : -ENOMEM;
}

int config_parse_dns_port(struct config *config, const struct variable *variable, const char *value, struct why *why)
{
    unsigned port;
    if (!text_whole_number(value, 1, 65535, &port))
        return config_refuse(why, variable, value, "a port from 1 to 65535");
    config->dns_port = (uint16_t)port;
    return 0;
}

int config_parse_max_rules(struct config *config, const struct variable *variable, const char *value, struct why *why)
{
    unsigned number;
    if (!text_whole_number(value, 0, INT_MAX, &number))
        return config_warn(config, variable, value, "a whole number, 0 = no limit");
    config->max_rules = number;
    return 0;
}

int config_parse_log_level(struct config *config, const struct variable *variable, const char *value, struct why *why)
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
    return config_warn(config, variable, value, "debug, info, warn, error or fatal");
}

int config_parse_on_exit(struct config *config, const struct variable *variable, const char *value, struct why *why)
{
    if (strcasecmp(value, "keep") && strcasecmp(value, "remove"))
        return config_refuse(why, variable, value, "keep or remove");
    config->remove_on_exit = !strcasecmp(value, "remove");
    return 0;
}

int config_parse_bad_rules(struct config *config, const struct variable *variable, const char *value, struct why *why)
{
    if (strcasecmp(value, "exit") && strcasecmp(value, "hold"))
        return config_refuse(why, variable, value, "exit or hold");
    config->hold_bad_rules = !strcasecmp(value, "hold");
    return 0;
}

int config_parse_webhook(struct config *config, const struct variable *variable, const char *value, struct why *why)
{
    struct url url;
    char shown[URL_SHOWN_MAX];
    if (url_parse(value, &url))
        return config_refuse(
            why, variable, url_shown(value, shown),
            "an http:// or https:// URL with a host: a name in ASCII, an IPv4 address or an [IPv6] one");
    config->webhook = strdup(value);
    return config->webhook ? 0 : -ENOMEM;
}

int config_refuse_interception(struct config *config, const struct variable *variable, const char *value,
                               struct why *why)
{
    if (!text_truthy(value))
        return 0;
    return config_refuse(why, variable, value, "nothing: transparent interception is not part of this sidecar");
}

int config_parse_nothing(struct config *config, const struct variable *variable, const char *value, struct why *why)
{
    return 0;
}
