#include "daemon.h"

#include "api/api.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/mailbox.h"
#include "base/metrics.h"
#include "base/url.h"
#include "base/watch.h"
#include "enforcer.h"
#include "guard.h"
#include "listen.h"
#include "nft/devices.h"
#include "nft/peers.h"
#include "telemetry/exporter.h"
#include "telemetry/host.h"
#include "telemetry/otel_env.h"
#include "telemetry/prometheus.h"
#include "version.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <time.h>

#define LOG_QUEUE_LOOP (1u << 20)
#define LOG_QUEUE_API (128u << 10)
#define STOP_TIMEOUT_MS 5000
/* How often the kernel's table is looked after: what is done to it is mended within a second. */
#define KEEP_NS (9 * NS_PER_S / 10)

struct daemon {
    const struct config *config;
    struct loop *loop;
    struct mailbox *mailbox;
    struct metrics metrics;
    struct log *log, *api_log;    /* one a thread */
    struct log *logs[2];          /* both, for the exporter */
    struct attribute *attributes; /* of every log record and every data point */
    size_t n_attributes;
    struct meter *meter;
    struct resource *resource;
    struct prometheus *prometheus; /* the API's thread uses it */
    struct otel_env *otel;
    const char **outputs; /* of the log */
    struct exporter *exporter;
    struct listeners listeners;
    struct sources sources; /* as read at start; policy and always files are the enforcer's then */
    uint32_t mark;
    uint16_t own_ports[NFT_OWN_PORTS_MAX];
    size_t n_own_ports;
    struct nft_settings kernel;
    struct peers *peers; /* NULL: direct connections are not logged */
    struct enforcer enforcer;
    struct watch *watch; /* on the always files */
    struct api *api;
    struct policy_change *change; /* the API's newest */
    struct loop_source signals, devices;
    /* Read by /healthz: what is not as it should be, if anything. */
    _Atomic(const char *) trouble;
    bool table_lost, file_lost;
    struct loop_timer keep;
    /* stopping */
    struct daemon_end end; /* what it will be */
    struct loop_timer drain, deadline;
    bool stopping, api_stopped, flushing;
    pthread_t stopper;
    struct mail api_gone, flushed;
};

static void tell_health(struct daemon *daemon)
{
    const char *trouble = daemon->table_lost ? "the table inet opensandbox is not in place"
                          : daemon->file_lost
                              ? "the kernel holds a policy whose file could not be written; post it again"
                              : NULL;
    atomic_store_explicit(&daemon->trouble, trouble, memory_order_release);
    metric_set(&daemon->metrics, METRIC_ENFORCEMENT_ACTIVE, !daemon->table_lost);
}

static void change_settled(void *ctx, int error, const struct why *why)
{
    struct daemon *daemon = ctx;
    struct policy_change *change = daemon->change;
    enforcer_settled(&daemon->enforcer, error, why); /* the policy is in force all the same */
    change->answered(change);
}

static void change_previewed(void *ctx, int error, const struct why *why)
{
    struct daemon *daemon = ctx;
    struct policy_change *change = daemon->change;
    change->error = error;
    change->why = *why;
    change->answered(change);
}

static void deliver_change(struct mail *mail, void *ctx)
{
    struct policy_change *change = (struct policy_change *)mail; /* its first member */
    struct daemon *daemon = ctx;
    daemon->change = change;
    if (change->dry_run) {
        enforcer_preview(&daemon->enforcer, change->next, &change->forecast, change_previewed, daemon);
        return;
    }
    if (change->settled) {
        enforcer_settle(&daemon->enforcer, change_settled, daemon);
        return;
    }
    change->error = enforcer_change(&daemon->enforcer, change->next, &change->why);
    /* A refused change leaves the old policy whole; a refused way back leaves a policy that nobody was promised. */
    if (!change->error || change->back)
        daemon->file_lost = change->error;
    tell_health(daemon);
    change->answered(change);
}

static void post_change(void *ctx, struct policy_change *change)
{
    struct daemon *daemon = ctx;
    change->mail.deliver = deliver_change;
    mailbox_post(daemon->mailbox, &change->mail);
}

static void deliver_question(struct mail *mail, void *ctx)
{
    struct policy_question *question = (struct policy_question *)mail; /* its first member */
    struct daemon *daemon = ctx;
    struct policy_layers layers = enforcer_layers(&daemon->enforcer);
    question->layers = policy_layers_ref(&layers);
    if (question->about_address)
        nft_lookup(daemon->enforcer.nft, &question->addr, &question->lease);
    question->answered(question);
}

static void post_question(void *ctx, struct policy_question *question)
{
    struct daemon *daemon = ctx;
    question->mail.deliver = deliver_question;
    mailbox_post(daemon->mailbox, &question->mail);
}

static void deliver_lookup(struct mail *mail, void *ctx)
{
    struct daemon *daemon = ctx;
    dns_proxy_look_up(daemon->enforcer.proxy, (struct lookup *)mail); /* its first member */
}

static void post_lookup(void *ctx, struct lookup *lookup)
{
    struct daemon *daemon = ctx;
    lookup->mail.deliver = deliver_lookup;
    mailbox_post(daemon->mailbox, &lookup->mail);
}

static bool healthy(void *ctx, struct why *why)
{
    struct daemon *daemon = ctx;
    const char *trouble = atomic_load_explicit(&daemon->trouble, memory_order_acquire);
    if (trouble)
        why_set(why, 0, "%s", trouble);
    return !trouble;
}

static uint64_t clock_realtime_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static void render_metrics(void *ctx, bool openmetrics, struct buf *out)
{
    struct daemon *daemon = ctx;
    prometheus_scrape(daemon->prometheus, clock_realtime_ns(), openmetrics ? PROMETHEUS_OPENMETRICS : PROMETHEUS_TEXT,
                      out);
}

static void keep_table(struct daemon *daemon)
{
    struct why why;
    bool lost = !enforcer_keep(&daemon->enforcer, &why);
    if (lost && !daemon->table_lost)
        log_printf(daemon->log, LOG_ERROR, "the table inet opensandbox cannot be put in place: %s", why.text);
    if (daemon->peers)
        peers_count(daemon->peers);
    daemon->table_lost = lost;
    tell_health(daemon);
}

static void keep_fired(struct loop_timer *timer)
{
    struct daemon *daemon = timer->owner;
    keep_table(daemon);
    loop_timer_set(daemon->loop, timer, loop_now(daemon->loop) + KEEP_NS);
}

/* Network devices came or went. */
static void devices_ready(struct loop_source *source, uint32_t events)
{
    devices_drain(source->fd);
    keep_table(source->owner);
}

/* --- stopping --- */

static void *stop_api(void *arg)
{
    struct daemon *daemon = arg;
    api_stop(daemon->api, STOP_TIMEOUT_MS); /* the loop goes on answering changes meanwhile */
    mailbox_post(daemon->mailbox, &daemon->api_gone);
    return NULL;
}

static void api_is_gone(struct mail *mail, void *ctx)
{
    struct daemon *daemon = ctx;
    pthread_join(daemon->stopper, NULL);
    daemon->api_stopped = true;
}

static void network_flushed(struct mail *mail, void *ctx)
{
    struct daemon *daemon = ctx;
    loop_stop(daemon->loop);
}

static void post_flushed(void *ctx)
{
    struct daemon *daemon = ctx;
    daemon->flushed.deliver = network_flushed;
    mailbox_post(daemon->mailbox, &daemon->flushed);
}

/* Nobody is answered any more. What goes over the network may still have names to be resolved. */
static void flush_network(struct daemon *daemon)
{
    daemon->flushing = true;
    if (exporter_flush(daemon->exporter, STOP_TIMEOUT_MS)) /* a thread that hangs in a write says nothing */
        loop_timer_set(daemon->loop, &daemon->deadline, loop_now(daemon->loop) + (STOP_TIMEOUT_MS + 500) * NS_PER_MS);
    else
        loop_stop(daemon->loop);
}

/* At the end of each turn: is everything under way answered? */
static void stop_when_done(void *ctx)
{
    struct daemon *daemon = ctx;
    if (daemon->stopping && daemon->api_stopped && !daemon->flushing && !dns_proxy_busy(daemon->enforcer.proxy))
        flush_network(daemon);
}

static void deadline_fired(struct loop_timer *timer)
{
    struct daemon *daemon = timer->owner;
    if (daemon->flushing)
        loop_stop(daemon->loop);
    else if (daemon->api_stopped)
        flush_network(daemon);
    else /* api_stop() keeps the same limit and is about to return */
        loop_timer_set(daemon->loop, timer, loop_now(daemon->loop) + 100 * NS_PER_MS);
}

static void stop(struct loop_timer *timer)
{
    struct daemon *daemon = timer->owner;
    if (daemon->stopping)
        return;
    loop_timer_cancel(daemon->loop, &daemon->drain);
    daemon->stopping = true;
    dns_proxy_quiesce(daemon->enforcer.proxy);
    daemon->api_gone.deliver = api_is_gone;
    if (pthread_create(&daemon->stopper, NULL, stop_api, daemon))
        daemon->api_stopped = true; /* the process ends without it */
    loop_timer_set(daemon->loop, &daemon->deadline, loop_now(daemon->loop) + STOP_TIMEOUT_MS * NS_PER_MS);
}

static void signal_ready(struct loop_source *source, uint32_t events)
{
    struct daemon *daemon = source->owner;
    struct signalfd_siginfo info;
    if (read(source->fd, &info, sizeof(info)) != sizeof(info))
        return;
    if (info.ssi_signo == SIGHUP) {
        exporter_reopen(daemon->exporter);
        watch_report(daemon->watch);
    } else if (!daemon->drain.heap_at && !daemon->stopping) {
        log_printf(daemon->log, LOG_INFO, "stopping: %s", info.ssi_signo == SIGINT ? "SIGINT" : "SIGTERM");
        loop_timer_set(daemon->loop, &daemon->drain, loop_now(daemon->loop) + daemon->config->drain_s * NS_PER_S);
    }
}

/* An upstream that asks us would send every lookup round in circles. */
static void upstream_loops(void *ctx, size_t i, size_t left)
{
    struct daemon *daemon = ctx;
    char text[SOCK_ADDR_TEXT_MAX];
    struct why why;
    why_set(&why, 0,
            "upstream %s sends its own questions to this sidecar and is not used%s; set "
            "OPENSANDBOX_EGRESS_DNS_UPSTREAM to a resolver outside the sandbox",
            sock_addr_format(&daemon->sources.upstreams[i], text), left ? "" : ", and no other is left");
    log_printf(daemon->log, LOG_ERROR, "%s", why.text);
    if (left || daemon->stopping)
        return;
    daemon->end = (struct daemon_end){.code = EXIT_CONFIG, .why = why};
    stop(&daemon->drain);
}

/* --- starting --- */

static int block_signals(struct daemon *daemon)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    signal(SIGPIPE, SIG_IGN);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    daemon->signals = (struct loop_source){
        .fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK), .ready = signal_ready, .owner = daemon};
    return daemon->signals.fd < 0 ? -errno : loop_add(daemon->loop, &daemon->signals, EPOLLIN);
}

static enum daemon_exit failed(enum daemon_exit code, struct why *why, int error, const char *what)
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
        error = block_signals(daemon);
    if (!error)
        error = log_new(LOG_QUEUE_LOOP, daemon->config->log_level, &daemon->log);
    if (!error)
        error = log_new(LOG_QUEUE_API, daemon->config->log_level, &daemon->api_log);
    if (error)
        return failed(EXIT_UNAVAILABLE, why, error, "cannot start");
    loop_on_turn_end(daemon->loop, stop_when_done, daemon);
    daemon->drain = (struct loop_timer){.fire = stop, .owner = daemon};
    daemon->deadline = (struct loop_timer){.fire = deadline_fired, .owner = daemon};
    daemon->keep = (struct loop_timer){.fire = keep_fired, .owner = daemon};
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
    return error ? failed(EXIT_UNAVAILABLE, why, error, "cannot start") : EXIT_OK;
}

/* Before anything sends or opens a port. */
static enum daemon_exit prepare_network(struct daemon *daemon, struct why *why)
{
    while (!daemon->mark)
        if (getrandom(&daemon->mark, sizeof(daemon->mark), 0) < 0)
            return failed(EXIT_UNAVAILABLE, why, -errno, "no random numbers");
    if (otel_env_read(OTEL_HOSTINFO, &daemon->otel))
        return failed(EXIT_UNAVAILABLE, why, -ENOMEM, "cannot start");
    const char *const endpoints[] = {daemon->config->webhook, daemon->otel->metrics.url, daemon->otel->logs.url};
    for (size_t i = 0; i < 3; i++) {
        struct url url;
        if (endpoints[i] && !url_parse(endpoints[i], &url))
            daemon->own_ports[daemon->n_own_ports++] = url.port;
    }
    return EXIT_OK;
}

static int make_attributes(struct daemon *daemon)
{
    const struct config *config = daemon->config;
    daemon->attributes = calloc(config->n_extra_attrs + 1, sizeof(*daemon->attributes));
    if (!daemon->attributes)
        return -ENOMEM;
    if (config->sandbox_id)
        daemon->attributes[daemon->n_attributes++] = (struct attribute){"sandbox_id", config->sandbox_id};
    for (size_t i = 0; i < config->n_extra_attrs; i++)
        daemon->attributes[daemon->n_attributes++] =
            (struct attribute){config->extra_attrs[i].key, config->extra_attrs[i].value};
    return 0;
}

static enum daemon_exit start_metrics(struct daemon *daemon, struct why *why)
{
    struct meter_settings meter = {.metrics = &daemon->metrics, .logs = daemon->logs, .n_logs = 2, .proc = HOST_PROC};
    struct resource_settings resource = {.version = EGRESS_VERSION,
                                         .sandbox_id = daemon->config->sandbox_id,
                                         .service_name = daemon->otel->service_name,
                                         .given = daemon->otel->resource.list,
                                         .n_given = daemon->otel->resource.n};
    daemon->metrics.dns_query_duration.exponential = daemon->otel->exponential_histograms;
    daemon->metrics.api_requests.exponential = daemon->otel->exponential_histograms;
    daemon->logs[0] = daemon->log;
    daemon->logs[1] = daemon->api_log;
    int error = make_attributes(daemon);
    if (!error)
        error = meter_new(&meter, clock_realtime_ns(), &daemon->meter);
    if (!error)
        error = resource_new(&resource, &daemon->resource);
    struct prometheus_settings prometheus = {.version = EGRESS_VERSION,
                                             .resource = daemon->resource,
                                             .attributes = daemon->attributes,
                                             .n_attributes = daemon->n_attributes};
    if (!error)
        error = prometheus_new(daemon->meter, &prometheus, &daemon->prometheus);
    return error ? failed(EXIT_UNAVAILABLE, why, error, "cannot start") : EXIT_OK;
}

static enum daemon_exit start_exporter(struct daemon *daemon, struct why *why)
{
    const struct config *config = daemon->config;
    daemon->outputs = calloc(config->n_log_outputs + 1, sizeof(*daemon->outputs));
    if (!daemon->outputs)
        return failed(EXIT_UNAVAILABLE, why, -ENOMEM, "cannot start");
    memcpy(daemon->outputs, config->log_outputs, config->n_log_outputs * sizeof(*daemon->outputs));
    daemon->outputs[config->n_log_outputs] = "stderr"; /* OTEL_LOGS_EXPORTER=console */
    struct exporter_settings settings = {.outputs = daemon->outputs,
                                         .n_outputs = config->n_log_outputs + daemon->otel->logs_console,
                                         .attributes = daemon->attributes,
                                         .n_attributes = daemon->n_attributes,
                                         .logs = daemon->logs,
                                         .n_logs = 2,
                                         .metrics = &daemon->metrics,
                                         .network = {.mark = daemon->mark,
                                                     .names = {.ctx = daemon, .look_up = post_lookup},
                                                     .webhook = config->webhook,
                                                     .sandbox_id = config->sandbox_id,
                                                     .otel = daemon->otel,
                                                     .resource = daemon->resource,
                                                     .attributes = daemon->attributes,
                                                     .n_attributes = daemon->n_attributes,
                                                     .meter = daemon->meter,
                                                     .metrics = &daemon->metrics,
                                                     .flushed = post_flushed,
                                                     .flushed_ctx = daemon}};
    struct why reason;
    int error = exporter_start(&settings, &daemon->exporter, &reason);
    if (!error)
        return EXIT_OK;
    why_set(why, error, "OPENSANDBOX_LOG_OUTPUT: %s", reason.text);
    return EXIT_CONFIG;
}

static int learn(void *ctx, const struct learned *addresses, size_t n, uint64_t now_ns)
{
    struct daemon *daemon = ctx;
    return nft_learn(daemon->enforcer.nft, addresses, n, now_ns);
}

static const char *refused_by(void *ctx, const struct ip_addr *addr)
{
    struct daemon *daemon = ctx;
    return enforcer_refusal(&daemon->enforcer, addr);
}

static void start_peers(struct daemon *daemon)
{
    struct peers_hooks hooks = {.ctx = daemon, .refused_by = refused_by};
    struct why why;
    int error = peers_new(daemon->loop, &daemon->kernel, &hooks, daemon->log, &daemon->peers, &why);
    daemon->kernel.log_peers = !error;
    if (error)
        log_printf(daemon->log, LOG_WARN, "direct connections are not logged: %s", why.text);
}

static void denied(void *ctx, const uint8_t *name, size_t len)
{
    struct daemon *daemon = ctx;
    exporter_denied(daemon->exporter, name, len);
}

static bool reaches(void *ctx, const struct ip_addr *addr, uint32_t seconds, uint64_t now_ns)
{
    struct daemon *daemon = ctx;
    return nft_reaches(daemon->enforcer.nft, addr, seconds, now_ns);
}

/* Without it new devices are found by the look every second. */
static void watch_devices(struct daemon *daemon)
{
    daemon->devices = (struct loop_source){.fd = devices_open(), .ready = devices_ready, .owner = daemon};
    if (daemon->devices.fd >= 0 && loop_add(daemon->loop, &daemon->devices, EPOLLIN))
        cleanup_close(&daemon->devices.fd);
}

static enum daemon_exit start_enforcement(struct daemon *daemon, struct why *why)
{
    const struct config *config = daemon->config;
    const struct sources *sources = &daemon->sources;
    daemon->kernel = (struct nft_settings){
        .filter = config->filter,
        .dns_port = config->dns_port,
        .mark = daemon->mark,
        .upstreams = sources->upstreams,
        .n_upstreams = sources->n_upstreams,
        .search = &sources->search,
        .exempt = config->exempt,
        .n_exempt = config->n_exempt,
        .block_doh_443 = config->block_doh_443,
        .doh_blocklist = config->doh_blocklist,
        .own_ports = daemon->own_ports,
        .n_own_ports = daemon->n_own_ports,
        .max_addresses = config->max_addresses,
        .metrics = &daemon->metrics,
        .mailbox = daemon->mailbox,
    };
    if (config->filter)
        start_peers(daemon);
    int error = nft_open(&daemon->kernel, &daemon->enforcer.nft, why);
    if (error)
        return error == -EPERM ? EXIT_NO_CAPABILITY : EXIT_UNAVAILABLE;
    struct dns_settings dns = {
        .udp_fds = daemon->listeners.udp,
        .n_udp = daemon->listeners.n_dns,
        .tcp_fds = daemon->listeners.tcp,
        .n_tcp = daemon->listeners.n_dns,
        .upstreams = sources->upstreams,
        .n_upstreams = sources->n_upstreams,
        .unmarked = config->exempt,
        .n_unmarked = config->n_exempt,
        .mark = daemon->mark,
        .timeout_s = config->upstream_timeout_s,
        .probe_name = config->upstream_probe ? config->upstream_probe : ".",
        .probe_interval_s = config->upstream_probe_interval_s,
        .cache_entries = config->dns_cache,
        .search = sources->resolv_conf.search,
        .n_search = sources->resolv_conf.n_search,
        .ndots = sources->resolv_conf.ndots,
        .log_skip = daemon->enforcer.always.log_skip,
        .metrics = &daemon->metrics,
    };
    struct dns_hooks hooks = {
        .ctx = daemon,
        .learn = learn,
        .reaches = config->filter ? reaches : NULL,
        .hold_seconds = config->filter ? nft_hold_seconds : NULL,
        .denied = config->webhook ? denied : NULL,
        .upstream_loops = upstream_loops,
    };
    struct policy_layers layers = enforcer_layers(&daemon->enforcer);
    error = dns_proxy_new(daemon->loop, &dns, &hooks, &layers, daemon->log, &daemon->enforcer.proxy, why);
    for (size_t i = 0; i < daemon->listeners.n_dns; i++)
        daemon->listeners.udp[i] = daemon->listeners.tcp[i] = -1; /* taken over */
    if (!error)
        error = enforcer_install(&daemon->enforcer, why);
    if (error)
        return error == -EPERM ? EXIT_NO_CAPABILITY : EXIT_UNAVAILABLE;
    tell_health(daemon);
    watch_devices(daemon);
    loop_timer_set(daemon->loop, &daemon->keep, loop_now(daemon->loop) + KEEP_NS);
    dns_proxy_watch_upstreams(daemon->enforcer.proxy);
    return EXIT_OK;
}

static enum daemon_exit start_api(struct daemon *daemon, struct why *why)
{
    struct api_settings settings = {
        .listen_fd = daemon->listeners.http,
        .token = daemon->config->token,
        .max_rules = daemon->config->max_rules,
        .policy_file = daemon->config->policy_file,
        .enforcement_mode = daemon->config->mode,
        .metrics = &daemon->metrics,
    };
    struct api_hooks hooks = {
        .ctx = daemon, .change = post_change, .ask = post_question, .healthy = healthy, .metrics = render_metrics};
    daemon->listeners.http = -1;
    int error = api_start(&settings, &hooks, daemon->enforcer.policy, daemon->api_log, &daemon->api, why);
    return error ? EXIT_UNAVAILABLE : EXIT_OK;
}

/* What a start has to say once it is through. */
static void log_start(struct daemon *daemon)
{
    for (size_t i = 0; i < daemon->config->n_warnings; i++)
        log_printf(daemon->log, LOG_WARN, "%s", daemon->config->warnings[i]);
    for (size_t i = 0; i < daemon->otel->n_warnings; i++)
        log_printf(daemon->log, LOG_WARN, "%s", daemon->otel->warnings[i]);
    for (size_t i = 0; i < SOURCES_WARNINGS; i++)
        if (daemon->sources.warnings[i].text[0])
            log_printf(daemon->log, LOG_WARN, "%s", daemon->sources.warnings[i].text);
    if (watch_is_blind(daemon->watch))
        log_printf(daemon->log, LOG_WARN,
                   "OPENSANDBOX_EGRESS_RULES_DIR=\"%s\": inotify cannot watch it; it is looked at every second instead",
                   daemon->config->rules_dir);
    struct why why;
    if (guard_network_namespace(config_allows_host_network(), &why) != GUARD_OK)
        log_printf(daemon->log, LOG_WARN, "%s", why.text);
    if (!daemon->config->token)
        log_printf(daemon->log, LOG_WARN,
                   "OPENSANDBOX_EGRESS_TOKEN is not set: the sandbox itself can change its policy through the API");
    enforcer_log_loaded(&daemon->enforcer);
}

static enum daemon_exit start(struct daemon *daemon, struct why *why)
{
    struct kept_upstreams kept;
    int error = nft_recall_upstreams(kept.list, SOURCES_UPSTREAMS_MAX, &kept.n, why);
    if (!error)
        error = nft_recall_search(&kept.search, &kept.has_search, why);
    if (error)
        return error == -EPERM ? EXIT_NO_CAPABILITY : EXIT_UNAVAILABLE;
    enum daemon_exit code = start_loop(daemon, why);
    if (code == EXIT_OK)
        code = start_watch(daemon, why);
    if (code == EXIT_OK && sources_read(daemon->config, &kept, &daemon->sources, why))
        code = EXIT_CONFIG;
    daemon->enforcer = (struct enforcer){.config = daemon->config,
                                         .log = daemon->log,
                                         .metrics = &daemon->metrics,
                                         .policy = daemon->sources.policy,
                                         .always = daemon->sources.always};
    if (code == EXIT_OK)
        code = prepare_network(daemon, why);
    if (code == EXIT_OK)
        code = start_metrics(daemon, why);
    if (code == EXIT_OK)
        code = start_exporter(daemon, why);
    if (code == EXIT_OK && listeners_open(daemon->config, &daemon->listeners, why))
        code = EXIT_UNAVAILABLE;
    if (code == EXIT_OK)
        code = start_enforcement(daemon, why);
    if (code == EXIT_OK)
        code = start_api(daemon, why);
    if (code == EXIT_OK)
        log_start(daemon);
    return code;
}

/* In the order of dependence, and only what was started. False when a log output hangs. */
static bool release(struct daemon *daemon)
{
    dns_proxy_free(daemon->enforcer.proxy);
    peers_free(daemon->peers);
    nft_free(daemon->enforcer.nft);
    listeners_close(&daemon->listeners);
    if (!exporter_stop(daemon->exporter, STOP_TIMEOUT_MS))
        return false;
    prometheus_free(daemon->prometheus);
    resource_free(daemon->resource);
    meter_free(daemon->meter);
    free(daemon->attributes);
    otel_env_free(daemon->otel);
    free(daemon->outputs);
    log_free(daemon->api_log);
    log_free(daemon->log);
    watch_free(daemon->watch);
    mailbox_free(daemon->mailbox);
    cleanup_close(&daemon->signals.fd);
    cleanup_close(&daemon->devices.fd);
    loop_free(daemon->loop);
    enforcer_done(&daemon->enforcer);
    return true;
}

void daemon_run(const struct config *config, struct daemon_end *ret)
{
    /* Not on the stack: when a thread cannot be ended, what it uses must outlive this function. */
    struct daemon *daemon = calloc(1, sizeof(*daemon));
    if (!daemon) {
        *ret = (struct daemon_end){.code = failed(EXIT_UNAVAILABLE, &ret->why, -ENOMEM, "cannot start")};
        return;
    }
    daemon->config = config;
    daemon->signals.fd = daemon->devices.fd = -1;
    daemon->listeners = (struct listeners){.udp = {-1, -1}, .tcp = {-1, -1}, .http = -1};
    struct daemon_end *end = &daemon->end;
    end->code = start(daemon, &end->why);
    int error = end->code == EXIT_OK ? loop_run(daemon->loop) : 0;
    if (error) { /* the API's thread still runs */
        end->code = failed(EXIT_UNAVAILABLE, &end->why, error, "epoll");
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
