#include "base/cleanup.h"
#include "daemon/state.h"
#include "nft/devices.h"

#include <errno.h>
#include <string.h>

/* How often the kernel's table is looked after: what is done to it is mended within a second. */
#define KEEP_NS (9 * NS_PER_S / 10)

void daemon_tell_health(struct daemon *daemon)
{
    const char *trouble =
        daemon->table_lost     ? "the table inet opensandbox is not in place"
        : daemon->way_out_lost ? "no route leads out of this network namespace any more: the application may be in "
                                 "another one, which nobody guards"
        : daemon->file_lost    ? "the kernel holds a policy whose file could not be written; post it again"
        : daemon->held         ? daemon->sources.held.text
                               : NULL;
    atomic_store_explicit(&daemon->trouble, trouble, memory_order_release);
    metric_set(&daemon->metrics, METRIC_ENFORCEMENT_ACTIVE,
               !daemon->table_lost && !daemon->way_out_lost && !daemon->config->audit);
}

static void tell_of_no_peers(struct daemon *daemon, const char *reason)
{
    log_printf(daemon->log, LOG_WARN, "direct connections are not logged: %s", reason);
}

/* After the rules were put in place, at first or anew. */
static void check_peers(struct daemon *daemon)
{
    if (!daemon->peers || nft_logs_peers(daemon->enforcer.nft))
        return;
    tell_of_no_peers(daemon, "this kernel does not take the rules for it (nft_log, nft_limit)");
    peers_free(daemon->peers);
    daemon->peers = NULL;
}

/* An application that was restarted by itself has a new namespace, and took its devices along. Where there never was
 * any, none is missed. */
static void check_way_out(struct daemon *daemon)
{
    bool leads_out;
    if (devices_lead_out(&leads_out))
        return;
    bool lost = daemon->had_way_out && !leads_out;
    daemon->had_way_out |= leads_out;
    if (lost == daemon->way_out_lost)
        return;
    daemon->way_out_lost = lost;
    if (!lost)
        log_printf(daemon->log, LOG_INFO, "routes lead out of this network namespace again");
    else if (log_begin(daemon->log, LOG_ERROR, LOG_PLAIN,
                       "no route leads out of this network namespace any more: if the application was restarted, it is "
                       "in another one, without rules; start the sidecar first and let the application join it")) {
        log_str(daemon->log, "opensandbox.event", "egress.network.lost", strlen("egress.network.lost"));
        log_end(daemon->log);
    }
}

static void keep_table(struct daemon *daemon)
{
    struct why why;
    if (!xdp_hold(&daemon->xdp))
        enforcer_warn_of_xdp(&daemon->enforcer);
    bool lost = !enforcer_keep(&daemon->enforcer, &why);
    if (lost && !daemon->table_lost)
        log_printf(daemon->log, LOG_ERROR, "the table inet opensandbox cannot be put in place: %s", why.text);
    check_peers(daemon);
    if (daemon->peers)
        peers_count(daemon->peers);
    daemon->table_lost = lost;
    check_way_out(daemon);
    daemon_tell_health(daemon);
}

void daemon_look(struct daemon *daemon)
{
    nft_look_at_once(daemon->enforcer.nft);
    keep_table(daemon);
}

/* Once. */
static void tell_of_seen(struct daemon *daemon)
{
    if (daemon->told_of_seen || !seen_is_full(daemon->seen))
        return;
    daemon->told_of_seen = true;
    log_printf(daemon->log, LOG_WARN,
               "GET /policy/suggested will lack something: it has room for %d names and %d addresses", SEEN_NAMES_MAX,
               SEEN_ADDRS_MAX);
}

static void keep_fired(struct loop_timer *timer)
{
    struct daemon *daemon = timer->owner;
    atomic_store_explicit(&daemon->turned_ns, loop_now(daemon->loop), memory_order_relaxed);
    notify_alive(&daemon->notify);
    keep_table(daemon);
    tell_of_seen(daemon);
    loop_timer_set(daemon->loop, timer, loop_now(daemon->loop) + KEEP_NS);
}

/* Network devices or routes came or went. */
static void devices_ready(struct loop_source *source, uint32_t events)
{
    devices_drain(source->fd);
    keep_table(source->owner);
}

/* Without it new devices are found by the look every second. */
static void watch_devices(struct daemon *daemon)
{
    daemon->devices = (struct loop_source){.fd = devices_open(), .ready = devices_ready, .owner = daemon};
    if (daemon->devices.fd >= 0 && loop_add(daemon->loop, &daemon->devices, EPOLLIN))
        cleanup_close(&daemon->devices.fd);
}

static int learn(void *ctx, const struct learned *addresses, size_t n, uint64_t now_ns)
{
    struct daemon *daemon = ctx;
    int error = nft_learn(daemon->enforcer.nft, addresses, n, now_ns);
    if (error != -ENOENT)
        return error;
    daemon_look(daemon); /* somebody took the table away */
    return nft_learn(daemon->enforcer.nft, addresses, n, now_ns);
}

static const char *refused_by(void *ctx, const struct ip_addr *addr)
{
    struct daemon *daemon = ctx;
    return enforcer_refusal(&daemon->enforcer, addr);
}

static void peer_seen(void *ctx, const struct ip_addr *addr)
{
    struct daemon *daemon = ctx;
    if (enforcer_needs_rule(&daemon->enforcer, addr))
        seen_addr(daemon->seen, addr);
}

static void start_peers(struct daemon *daemon)
{
    struct peers_hooks hooks = {.ctx = daemon, .refused_by = refused_by, .seen = peer_seen};
    struct why why;
    int error = peers_new(daemon->loop, &daemon->kernel, &hooks, daemon->log, &daemon->peers, &why);
    daemon->kernel.log_peers = !error;
    if (error)
        tell_of_no_peers(daemon, why.text);
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
    daemon_stop(daemon);
}

static void set_kernel(struct daemon *daemon)
{
    const struct config *config = daemon->config;
    const struct sources *sources = &daemon->sources;
    daemon->kernel = (struct nft_settings){
        .filter = config->filter,
        .audit = config->audit,
        .dns_port = config->dns_port,
        .mark = daemon->own.mark,
        .group = daemon->own.group,
        .upstreams = sources->upstreams,
        .n_upstreams = sources->n_upstreams,
        .search = &sources->search,
        .kept = config->policy_file ? NULL : &daemon->enforcer.kept,
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
}

static int start_proxy(struct daemon *daemon, struct why *why)
{
    const struct config *config = daemon->config;
    const struct sources *sources = &daemon->sources;
    struct dns_settings dns = {
        .udp_fds = daemon->listeners.udp,
        .n_udp = daemon->listeners.n_dns,
        .tcp_fds = daemon->listeners.tcp,
        .n_tcp = daemon->listeners.n_dns,
        .upstreams = sources->upstreams,
        .n_upstreams = sources->n_upstreams,
        .unmarked = config->exempt,
        .n_unmarked = config->n_exempt,
        .own = &daemon->own,
        .mix_case = config->dns_0x20,
        .timeout_s = config->upstream_timeout_s,
        .probe_name = config->upstream_probe ? config->upstream_probe : ".",
        .probe_interval_s = config->upstream_probe_interval_s,
        .cache_entries = config->dns_cache,
        .search = sources->resolv_conf.search,
        .n_search = sources->resolv_conf.n_search,
        .ndots = sources->resolv_conf.ndots,
        .log_skip = daemon->enforcer.always.log_skip,
        .inflight = config->dns_inflight,
        .tcp_connections = config->tcp_connections,
        .tcp_pipelined = config->tcp_pipelined,
        .tcp_unsent_kib = config->tcp_unsent_kib,
        .names_per_minute = config->names_per_minute,
        .audit = config->audit,
        .seen = daemon->seen,
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
    return dns_proxy_new(daemon->loop, &dns, &hooks, &layers, daemon->log, &daemon->enforcer.proxy, why);
}

enum daemon_exit daemon_start_enforcement(struct daemon *daemon, struct why *why)
{
    const struct config *config = daemon->config;
    if (seen_new(&daemon->seen))
        return daemon_failed(EXIT_UNAVAILABLE, why, -ENOMEM, "cannot start");
    set_kernel(daemon);
    if (config->filter)
        start_peers(daemon);
    int error = nft_open(&daemon->kernel, &daemon->enforcer.nft, why);
    if (error)
        return error == -EPERM ? EXIT_NO_CAPABILITY : EXIT_UNAVAILABLE;
    error = start_proxy(daemon, why);
    for (size_t i = 0; i < daemon->listeners.n_dns; i++)
        daemon->listeners.udp[i] = daemon->listeners.tcp[i] = -1; /* taken over */
    /* What an earlier process held the kernel gives back a moment after its end: whether all could be had the first
     * look after the table tells. */
    xdp_hold(&daemon->xdp);
    if (!error)
        error = enforcer_install(&daemon->enforcer, why);
    if (error)
        return error == -EPERM ? EXIT_NO_CAPABILITY : EXIT_UNAVAILABLE;
    xdp_hold(&daemon->xdp);
    check_peers(daemon);
    check_way_out(daemon);
    daemon->held = daemon->sources.held.text[0];
    daemon_tell_health(daemon);
    atomic_store_explicit(&daemon->turned_ns, loop_now(daemon->loop), memory_order_relaxed);
    watch_devices(daemon);
    daemon->keep = (struct loop_timer){.fire = keep_fired, .owner = daemon};
    loop_timer_set(daemon->loop, &daemon->keep, loop_now(daemon->loop) + KEEP_NS);
    dns_proxy_watch_upstreams(daemon->enforcer.proxy);
    return EXIT_OK;
}
