#include "daemon/daemon.h"

#include "base/cleanup.h"
#include "daemon/state.h"
#include "guard.h"
#include "privileges.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LOG_QUEUE_LOOP (1u << 20)
#define LOG_QUEUE_API (128u << 10)

enum daemon_exit daemon_failed(enum daemon_exit code, struct why *why, int error, const char *what)
{
    why_set(why, error, "%s: %s", what, strerrordesc_np(-error));
    return code;
}

static enum daemon_exit start_loop(struct daemon *daemon, struct why *why)
{
    int error = loop_new(&daemon->loop);
    if (!error)
        error = mailbox_new(daemon->loop, daemon, &daemon->mailbox);
    if (!error)
        error = daemon_stop_on_signals(daemon);
    if (!error)
        error = log_new(LOG_QUEUE_LOOP, daemon->config->log_level, &daemon->log);
    if (!error)
        error = log_new(LOG_QUEUE_API, daemon->config->log_level, &daemon->api_log);
    if (error)
        return daemon_failed(EXIT_UNAVAILABLE, why, error, "cannot start");
    return EXIT_OK;
}

static bool always_changed(void *ctx, bool again)
{
    struct daemon *daemon = ctx;
    return enforcer_reload_always(&daemon->enforcer, again);
}

/* Before the files are read, so that no change of them is missed. */
static enum daemon_exit start_watch(struct daemon *daemon, struct why *why)
{
    struct watch_settings settings = {
        .folder = daemon->config->rules_dir,
        .names = always_files,
        .n_names = ALWAYS_FILES,
        .changed = always_changed,
        .ctx = daemon,
    };
    int error = watch_new(daemon->loop, &settings, &daemon->watch);
    return error ? daemon_failed(EXIT_UNAVAILABLE, why, error, "cannot start") : EXIT_OK;
}

static struct tls_paths tls_paths(const struct config *config)
{
    if (config->http_socket_only)
        return (struct tls_paths){0};
    return (struct tls_paths){config->tls_cert, config->tls_key, config->tls_client_ca};
}

int daemon_check_tls(const struct config *config, struct why *why)
{
    _cleanup_tls_texts_ struct tls_texts texts = {0};
    struct tls_paths paths = tls_paths(config);
    return paths.certificate ? tls_read(&paths, &texts, why) : 0;
}

static enum daemon_exit start_api(struct daemon *daemon, struct why *why)
{
    struct api_settings settings = {
        .tls = tls_paths(daemon->config),
        .listen_fd = daemon->listeners.http,
        .local_fd = daemon->listeners.local,
        .token = daemon->config->token,
        .hosts = daemon->config->api_hosts,
        .max_rules = daemon->config->max_rules,
        .policy_file = daemon->config->policy_file,
        .enforcement_mode = daemon->config->mode,
        .audit = daemon->config->audit,
        .connections = daemon->config->http_connections,
        .recent = daemon->recent,
        .metrics = &daemon->metrics,
    };
    struct api_hooks hooks = daemon_api_hooks(daemon);
    daemon->listeners.http = daemon->listeners.local = -1;
    int error = api_start(&settings, &hooks, daemon->enforcer.policy, daemon->api_log, &daemon->api, why);
    return error ? EXIT_UNAVAILABLE : EXIT_OK;
}

static bool is_loopback(const struct config *config)
{
    struct ip_addr ip = sock_addr_ip(&config->http_addr);
    return ip_is_loopback(&ip);
}

/* What a start has to say once it is through. */
static void log_start(struct daemon *daemon)
{
    for (size_t i = 0; i < daemon->config->n_warnings; i++)
        log_printf(daemon->log, LOG_WARN, "%s", daemon->config->warnings[i]);
    if (daemon->listeners.warning.text[0])
        log_printf(daemon->log, LOG_WARN, "the API has no socket in the file system: %s",
                   daemon->listeners.warning.text);
    for (size_t i = 0; i < daemon->otel->n_warnings; i++)
        log_printf(daemon->log, LOG_WARN, "%s", daemon->otel->warnings[i]);
    for (size_t i = 0; i < SOURCES_WARNINGS; i++)
        if (daemon->sources.warnings[i].text[0])
            log_printf(daemon->log, LOG_WARN, "%s", daemon->sources.warnings[i].text);
    if (daemon->held)
        log_printf(daemon->log, LOG_ERROR, "everything is denied until a policy is posted: %s",
                   daemon->sources.held.text);
    if (watch_is_blind(daemon->watch))
        log_printf(daemon->log, LOG_WARN,
                   "OPENSANDBOX_EGRESS_RULES_DIR=\"%s\": inotify cannot watch it; it is looked at every second instead",
                   daemon->config->rules_dir);
    struct why why;
    if (guard_network_namespace(config_allows_host_network(), &why) != GUARD_OK)
        log_printf(daemon->log, LOG_WARN, "%s", why.text);
    if (daemon->config->audit)
        log_printf(daemon->log, LOG_WARN,
                   "OPENSANDBOX_EGRESS_MODE=%s: NOTHING IS ENFORCED: what the policy denies passes, and is recorded as "
                   "denied with audit = true",
                   daemon->config->mode);
    if (!daemon->config->token)
        log_printf(daemon->log, LOG_WARN,
                   "OPENSANDBOX_EGRESS_TOKEN is not set: the sandbox itself can change its policy through the API");
    else if (!daemon->config->http_socket_only && !daemon->config->tls_cert && !is_loopback(daemon->config))
        log_printf(daemon->log, LOG_WARN,
                   "OPENSANDBOX_EGRESS_TOKEN is sent in the clear to OPENSANDBOX_EGRESS_HTTP_ADDR: set "
                   "OPENSANDBOX_EGRESS_TLS_CERT and _TLS_KEY, or an address of loopback or unix:/PATH");
    enforcer_log_loaded(&daemon->enforcer, daemon->sources.policy_source);
}

/* After the rules: those that are put in place first end all connections that were made before. Also when they could
 * not be (`code`), so that what was recorded by then is written. */
static enum daemon_exit start_export(struct daemon *daemon, enum daemon_exit code, struct why *why)
{
    struct why reason;
    if (!exporter_start(daemon->exporter, &reason) || code != EXIT_OK)
        return code;
    *why = reason;
    return EXIT_UNAVAILABLE;
}

/* What an earlier process of this network namespace left in the kernel. */
static int recall(struct kept *ret, struct why *why)
{
    int error = nft_recall_upstreams(ret->list, SOURCES_UPSTREAMS_MAX, &ret->n, why);
    if (!error)
        error = nft_recall_search(&ret->search, &ret->has_search, why);
    return error ? error : nft_recall_kept(&ret->policy, why);
}

static void kept_done(struct kept *kept)
{
    buf_done(&kept->policy);
}

static enum daemon_exit start(struct daemon *daemon, struct why *why)
{
    /* A low port may take CAP_NET_BIND_SERVICE; all else is read and opened with the rights that stay. */
    int error = listeners_open(daemon->config, &daemon->listeners, why);
    daemon->end.port_taken = error == -EADDRINUSE;
    if (!daemon->config->audit && !config_allows_host_network())
        xdp_open(&daemon->xdp);
    daemon->own.group = own_group_take();
    if (error || privileges_drop(why))
        return EXIT_UNAVAILABLE;
    _cleanup_(kept_done) struct kept kept = {.n = 0};
    error = recall(&kept, why);
    if (error)
        return error == -EPERM ? EXIT_NO_CAPABILITY : EXIT_UNAVAILABLE;
    enum daemon_exit code = start_loop(daemon, why);
    if (code == EXIT_OK)
        code = start_watch(daemon, why);
    if (code == EXIT_OK && sources_read(daemon->config, &kept, &daemon->sources, why))
        code = EXIT_CONFIG;
    if (code == EXIT_OK && daemon_check_tls(daemon->config, why))
        code = EXIT_CONFIG;
    daemon->enforcer = (struct enforcer){.config = daemon->config,
                                         .log = daemon->log,
                                         .metrics = &daemon->metrics,
                                         .policy = daemon->sources.policy,
                                         .always = daemon->sources.always};
    if (daemon->sources.policy_source == POLICY_FROM_TABLE) { /* still to be found by the start after this */
        daemon->enforcer.kept = kept.policy;
        kept.policy = (struct buf){0};
    }
    if (code == EXIT_OK)
        code = daemon_prepare_telemetry(daemon, why);
    if (code != EXIT_OK)
        return code;
    code = daemon_start_enforcement(daemon, why);
    code = start_export(daemon, code, why);
    if (code == EXIT_OK) /* last: release() does not end its thread */
        code = start_api(daemon, why);
    if (code == EXIT_OK) {
        log_start(daemon);
        notify_ready(&daemon->notify, daemon->loop);
        notify_alive(&daemon->notify);
    }
    return code;
}

/* In the order of dependence, and only what was started. False when a log output hangs. */
static bool release(struct daemon *daemon)
{
    dns_proxy_free(daemon->enforcer.proxy);
    peers_free(daemon->peers);
    nft_free(daemon->enforcer.nft);
    seen_free(daemon->seen);
    listeners_close(&daemon->listeners);
    xdp_close(&daemon->xdp);
    if (daemon->end.code == EXIT_OK)
        listeners_remove_local(&daemon->listeners);
    if (!exporter_stop(daemon->exporter, STOP_TIMEOUT_MS))
        return false;
    daemon_release_telemetry(daemon);
    log_free(daemon->api_log);
    log_free(daemon->log);
    watch_free(daemon->watch);
    mailbox_free(daemon->mailbox);
    cleanup_close(&daemon->signals.fd);
    cleanup_close(&daemon->devices.fd);
    notify_close(&daemon->notify);
    loop_free(daemon->loop);
    enforcer_done(&daemon->enforcer);
    return true;
}

void daemon_run(const struct config *config, int life_fd, struct daemon_end *ret)
{
    /* Not on the stack: when a thread cannot be ended, what it uses must outlive this function. */
    struct daemon *daemon = calloc(1, sizeof(*daemon));
    if (!daemon) {
        *ret = (struct daemon_end){.code = daemon_failed(EXIT_UNAVAILABLE, &ret->why, -ENOMEM, "cannot start")};
        return;
    }
    daemon->config = config;
    daemon->signals.fd = daemon->devices.fd = -1;
    daemon->listeners = (struct listeners){.udp = {-1, -1}, .tcp = {-1, -1}, .http = -1, .local = -1};
    notify_open(life_fd, &daemon->notify);
    struct daemon_end *end = &daemon->end;
    end->code = start(daemon, &end->why);
    int error = end->code == EXIT_OK ? loop_run(daemon->loop) : 0;
    if (error) { /* the API's thread still runs */
        end->code = daemon_failed(EXIT_UNAVAILABLE, &end->why, error, "epoll");
        end->unfinished = true;
    } else if (daemon->api_abandoned) {
        exporter_stop(daemon->exporter, STOP_TIMEOUT_MS);
        end->unfinished = true;
    } else {
        end->unfinished = !release(daemon);
    }
    if (end->code == EXIT_OK && config->remove_on_exit && nft_remove(&end->why))
        end->code = EXIT_UNAVAILABLE;
    *ret = *end;
    if (!end->unfinished)
        free(daemon);
}
