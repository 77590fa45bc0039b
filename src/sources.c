#include "sources.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/domain_name.h"
#include "base/file.h"
#include "base/keyed_hash.h"
#include "policy/name.h"
#include "policy/policy_json.h"
#include "policy/rule_file.h"

#include <errno.h>
#include <inttypes.h>
#include <libgen.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#define POLICY_FILE_MAX (64u << 20)
#define RESOLV_CONF_MAX (1u << 20)
#define RESOLV_CONF "/etc/resolv.conf"

enum { DENY_FILE, ALLOW_FILE, LOG_SKIP_FILE };

const char *const always_files[ALWAYS_FILES] = {
    [DENY_FILE] = "deny.always", [ALLOW_FILE] = "allow.always", [LOG_SKIP_FILE] = "log_skip.always"};

void always_done(struct always *always)
{
    policy_unref(always->deny);
    policy_unref(always->allow);
    policy_unref(always->log_skip);
    *always = (struct always){0};
}

int always_read(const struct config *config, struct always *ret, struct why *why)
{
    struct always always = {0};
    why_set(why, 0, "out of memory"); /* the one failure that says nothing of its own */
    const char *dir = config->rules_dir;
    int error = rule_file_load(dir, always_files[DENY_FILE], ACTION_DENY, false, &always.deny, why);
    if (!error)
        error = rule_file_load(dir, always_files[ALLOW_FILE], ACTION_ALLOW, false, &always.allow, why);
    if (!error)
        error = rule_file_load(dir, always_files[LOG_SKIP_FILE], ACTION_ALLOW, true, &always.log_skip, why);
    if (error) {
        always_done(&always);
        return error;
    }
    *ret = always;
    return 0;
}

/* The policy file, if it is there and valid; else why not. -ENOENT is no reason to warn. */
static int read_policy_file(const char *path, struct policy **ret, struct why *why)
{
    _cleanup_buf_ struct buf text = {0};
    int error = file_read(path, POLICY_FILE_MAX, &text);
    if (error)
        return why_set(why, error, "OPENSANDBOX_EGRESS_POLICY_FILE=\"%s\": %s; using OPENSANDBOX_EGRESS_RULES", path,
                       strerrordesc_np(-error));
    struct why reason;
    error = policy_from_json(text.data ? text.data : "", text.len, 0, ret, &reason);
    if (error)
        return why_set(why, error, "OPENSANDBOX_EGRESS_POLICY_FILE=\"%s\": %s; using OPENSANDBOX_EGRESS_RULES", path,
                       error == -ENOMEM ? "out of memory" : reason.text);
    return 0;
}

/* Whether a change can be written: beside the file, to be renamed, or into it. */
static bool can_be_written(const char *path)
{
    _cleanup_free_ char *copy = strdup(path);
    return access(path, W_OK) == 0 || !copy || access(dirname(copy), W_OK | X_OK) == 0;
}

#define RULES_LINE_LEN 17 /* a hash of OPENSANDBOX_EGRESS_RULES in hexadecimal, and the end of the line */

/* Who sets the variable needs no secret key to make two values collide. */
static void put_rules_line(const struct config *config, char line[RULES_LINE_LEN + 1])
{
    static const struct hash_key key = {{1, 2}};
    const char *rules = config->rules ? config->rules : "";
    snprintf(line, RULES_LINE_LEN + 1, "%016" PRIx64 "\n", keyed_hash(&key, (const uint8_t *)rules, strlen(rules)));
}

void sources_policy_text(const struct config *config, const struct policy *policy, struct buf *out)
{
    char line[RULES_LINE_LEN + 1];
    put_rules_line(config, line);
    buf_puts(out, line);
    policy_to_json(policy, out);
}

/* What was denied through the API stays denied after a crash; a start with other rules is a new beginning. True when it
 * is to be taken. */
static bool read_kept_policy(const struct config *config, const struct buf *text, struct policy **ret,
                             struct why *warning)
{
    char line[RULES_LINE_LEN + 1];
    if (text->len < RULES_LINE_LEN)
        return false;
    put_rules_line(config, line);
    if (memcmp(text->data, line, RULES_LINE_LEN)) {
        why_set(warning, 0,
                "OPENSANDBOX_EGRESS_RULES is not what it was when the API's changes were accepted that this network "
                "namespace has kept: they are dropped, and it counts");
        return false;
    }
    return policy_from_json(text->data + RULES_LINE_LEN, text->len - RULES_LINE_LEN, 0, ret, NULL) == 0;
}

const char *policy_source_name(enum policy_source source)
{
    static const char *const names[] = {[POLICY_FROM_FILE] = "file",
                                        [POLICY_FROM_TABLE] = "table",
                                        [POLICY_FROM_RULES] = "rules",
                                        [POLICY_OF_NOBODY] = "none"};
    return names[source];
}

static int read_policy(const struct config *config, const struct buf *kept, struct sources *sources, struct why *why)
{
    struct policy **ret = &sources->policy;
    struct why *warning = &sources->warnings[0];
    const char *path = config->policy_file;
    if (path) {
        int error = read_policy_file(path, ret, warning);
        /* RULES may allow more than the policy that was written there. */
        if (error == -EACCES)
            return why_set(
                why, error,
                "OPENSANDBOX_EGRESS_POLICY_FILE=\"%s\": user %u must not read it, and CAP_NET_ADMIN is all that "
                "is left of root's rights: expected a file and folders that this user may read",
                path, (unsigned)geteuid());
        if (error == -ENOENT)
            warning->text[0] = '\0';
        if (!error && !can_be_written(path))
            why_set(warning, 0,
                    "OPENSANDBOX_EGRESS_POLICY_FILE=\"%s\": user %u must not write it (%s): no change will be accepted",
                    path, (unsigned)geteuid(), strerrordesc_np(errno));
        sources->policy_source = POLICY_FROM_FILE;
        if (!error || error == -ENOMEM)
            return error;
    } else if (read_kept_policy(config, kept, ret, &sources->warnings[4])) {
        sources->policy_source = POLICY_FROM_TABLE;
        return 0;
    }
    sources->policy_source = config->rules ? POLICY_FROM_RULES : POLICY_OF_NOBODY;
    const char *rules = config->rules ? config->rules : "";
    struct why reason;
    int error = policy_from_json(rules, strlen(rules), 0, ret, &reason);
    if (error == -ENOMEM)
        return why_set(why, error, "out of memory");
    if (!error)
        return 0;
    /* The whole value may be long; the reason names the place. */
    why_set(why, error, "OPENSANDBOX_EGRESS_RULES=\"%.120s%s\": %s", rules, strlen(rules) > 120 ? "…" : "",
            reason.text);
    if (!config->hold_bad_rules)
        return error;
    sources->held = *why;
    sources->policy_source = POLICY_OF_NOBODY;
    return policy_from_json("", 0, 0, ret, NULL);
}

static int read_resolv_conf(struct resolv_conf *ret)
{
    _cleanup_buf_ struct buf text = {0};
    struct utsname host;
    int error = file_read(RESOLV_CONF, RESOLV_CONF_MAX, &text);
    bool has_text = !error && text.data, has_name = !uname(&host);
    resolv_conf_parse(has_text ? text.data : "", has_text ? text.len : 0, has_name ? host.nodename : "", if_nametoindex,
                      ret);
    return error;
}

static void take_resolv_conf(struct sources *sources, int error)
{
    sources->n_upstreams = sources->resolv_conf.n_servers;
    memcpy(sources->upstreams, sources->resolv_conf.servers, sources->n_upstreams * sizeof(*sources->upstreams));
    if (sources->n_upstreams)
        return;
    why_set(&sources->warnings[1], 0, RESOLV_CONF " names no nameserver (%s); using 8.8.8.8:53",
            error ? strerrordesc_np(-error) : "no usable line");
    sock_addr_parse("8.8.8.8:53", 53, &sources->upstreams[0]);
    sources->n_upstreams = 1;
}

/* The application may have written the file since the first start, so it is only looked at to warn. */
static void keep_upstreams(struct sources *sources, const struct kept *kept)
{
    bool same = sources->n_upstreams == kept->n;
    for (size_t i = 0; same && i < kept->n; i++)
        same = sock_addr_equal(&sources->upstreams[i], &kept->list[i]);
    sources->warnings[1].text[0] = '\0';
    if (!same)
        why_set(&sources->warnings[1], 0,
                RESOLV_CONF " names other nameservers than at the first start; those of the first start stay in use");
    memcpy(sources->upstreams, kept->list, kept->n * sizeof(*kept->list));
    sources->n_upstreams = kept->n;
}

static void search_to_text(const struct resolv_conf *conf, struct search_text *ret)
{
    *ret = (struct search_text){.ndots = conf->ndots};
    for (size_t i = 0; i < conf->n_search; i++) {
        char text[DOMAIN_TEXT_MAX];
        size_t len = domain_name_text(conf->search[i].name, conf->search[i].len, text);
        if (len < SEARCH_TEXT_MAX) /* only escapes could be more and of use */
            memcpy(ret->names[ret->n++], text, len + 1);
    }
}

static void search_from_text(const struct search_text *search, struct resolv_conf *ret)
{
    ret->ndots = search->ndots;
    ret->n_search = 0;
    for (size_t i = 0; i < search->n; i++) {
        struct dns_suffix suffix;
        size_t len;
        if (name_from_text(search->names[i], suffix.name, &len, NULL))
            continue;
        suffix.len = (uint8_t)len;
        ret->search[ret->n_search++] = suffix;
    }
}

/* As with the upstreams: what a search list makes of allowed names is denied quietly. */
static void keep_search(struct sources *sources, const struct kept *kept)
{
    struct search_text now;
    search_to_text(&sources->resolv_conf, &now);
    bool same = now.n == kept->search.n && now.ndots == kept->search.ndots;
    for (size_t i = 0; same && i < now.n; i++)
        same = !strcmp(now.names[i], kept->search.names[i]);
    if (!same)
        why_set(&sources->warnings[2], 0,
                RESOLV_CONF " has another search list than at the first start; that of the first start stays in use");
    search_from_text(&kept->search, &sources->resolv_conf);
}

static int read_upstreams(const struct config *config, const struct kept *kept, struct sources *sources,
                          struct why *why)
{
    int error = read_resolv_conf(&sources->resolv_conf);
    if (kept->has_search)
        keep_search(sources, kept);
    search_to_text(&sources->resolv_conf, &sources->search);
    if (config->n_upstreams) {
        memcpy(sources->upstreams, config->upstreams, config->n_upstreams * sizeof(*config->upstreams));
        sources->n_upstreams = config->n_upstreams;
    } else {
        take_resolv_conf(sources, error);
        if (kept->n)
            keep_upstreams(sources, kept);
    }
    for (size_t i = 0; i < sources->n_upstreams; i++) {
        struct ip_addr ip = sock_addr_ip(&sources->upstreams[i]), v4, v6;
        ip_parse("127.0.0.1", &v4);
        ip_parse("::1", &v6);
        char text[SOCK_ADDR_TEXT_MAX];
        if (sock_addr_port(&sources->upstreams[i]) == config->dns_port && (ip_equal(&ip, &v4) || ip_equal(&ip, &v6)))
            return why_set(why, -EINVAL,
                           "OPENSANDBOX_EGRESS_DNS_UPSTREAM: %s is the sidecar itself: expected another resolver",
                           sock_addr_format(&sources->upstreams[i], text));
        if (config->filter && !config->audit && ip_is_loopback(&ip))
            why_set(&sources->warnings[3], 0,
                    "upstream %s is on loopback: drop CAP_NET_RAW from the application, or it can forge answers",
                    sock_addr_format(&sources->upstreams[i], text));
    }
    return 0;
}

int sources_read(const struct config *config, const struct kept *kept, struct sources *ret, struct why *why)
{
    struct sources sources = {0};
    why_set(why, 0, "out of memory"); /* as above */
    int error = read_policy(config, &kept->policy, &sources, why);
    if (!error)
        error = always_read(config, &sources.always, why);
    if (!error)
        error = read_upstreams(config, kept, &sources, why);
    if (error) {
        sources_done(&sources);
        return error;
    }
    *ret = sources;
    return 0;
}

void sources_done(struct sources *sources)
{
    policy_unref(sources->policy);
    always_done(&sources->always);
}
