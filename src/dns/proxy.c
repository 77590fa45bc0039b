#include "dns/proxy_state.h"

#include "policy/hash.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOOP_PROBE_NS (5 * NS_PER_S)
#define TCP_IDLE_NS (10 * NS_PER_S)

/* Takes all sockets over, also when it fails. */
static int open_listeners(struct dns_proxy *proxy, const struct dns_settings *settings)
{
    struct udp_listener_callbacks udp = {
        .ctx = proxy, .query = proxy_udp_query, .batch_end = proxy_commit, .left_out = proxy_udp_left_out};
    struct tcp_limits limits = {
        .connections = settings->tcp_connections,
        .pipelined = settings->tcp_pipelined,
        .unsent = (size_t)settings->tcp_unsent_kib << 10,
        .idle_ns = TCP_IDLE_NS,
    };
    struct tcp_callbacks tcp = {
        .ctx = proxy, .query = proxy_tcp_query, .batch_end = proxy_commit, .limited = proxy_tcp_limited};
    struct replies *replies = &proxy->replies;
    int error = 0;
    for (size_t i = 0; i < settings->n_udp; i++) {
        if (!error)
            error = udp_listener_new(proxy->loop, settings->udp_fds[i], (uint16_t)i, &udp, &replies->listeners[i]);
        if (error)
            close(settings->udp_fds[i]);
        else
            replies->n_listeners++;
    }
    if (!error)
        error = tcp_server_new(proxy->loop, settings->tcp_fds, settings->n_tcp, &limits, &tcp, &proxy->tcp);
    for (size_t i = 0; i < settings->n_tcp && error; i++)
        close(settings->tcp_fds[i]);
    return error;
}

int dns_proxy_new(struct loop *loop, const struct dns_settings *settings, const struct dns_hooks *hooks,
                  const struct policy_layers *layers, struct log *log, struct dns_proxy **ret, struct why *why)
{
    assert(settings->n_udp <= UDP_LISTENERS_MAX);
    struct dns_proxy *proxy = calloc(1, sizeof(*proxy));
    if (!proxy)
        return why_set(why, -ENOMEM, "out of memory");
    proxy->loop = loop;
    proxy->seed = hash_seed();
    proxy->hooks = *hooks;
    proxy->layers = *layers;
    proxy->search = settings->search;
    proxy->n_search = settings->n_search;
    proxy->log_skip = settings->log_skip;
    proxy->audit = settings->audit;
    proxy->seen = settings->seen;
    proxy->log = log;
    proxy->metrics = settings->metrics;
    metric_set(proxy->metrics, METRIC_UPSTREAMS_HEALTHY, settings->n_upstreams); /* until a probe says otherwise */
    struct forwarder_settings forwarding = {
        .upstreams = settings->upstreams,
        .n_upstreams = settings->n_upstreams,
        .unmarked = settings->unmarked,
        .n_unmarked = settings->n_unmarked,
        .own = settings->own,
        .mix_case = settings->mix_case,
        .timeout_ns = settings->timeout_s * NS_PER_S,
        .capacity = settings->inflight,
        .metrics = settings->metrics,
    };
    struct forwarder_callbacks callbacks = {
        .ctx = proxy,
        .answered = proxy_answered,
        .failed = proxy_upstreams_exhausted,
        .suspects = proxy_suspects,
        .batch_end = proxy_commit,
    };
    int error = open_listeners(proxy, settings);
    if (!error && settings->cache_entries)
        error = cache_new(settings->cache_entries, &proxy->cache);
    if (!error)
        error = own_addresses_new(loop, log, &proxy->own);
    if (!error)
        error = forwarder_new(loop, &forwarding, &callbacks, &proxy->forwarder);
    if (!error)
        error =
            prober_new(loop, proxy->forwarder, log, settings->probe_name, settings->probe_interval_s, &proxy->prober);
    struct lookups_settings lookups = {.forwarder = proxy->forwarder,
                                       .search = settings->search,
                                       .n_search = settings->n_search,
                                       .ndots = settings->ndots,
                                       .found = proxy->found};
    if (!error)
        error = lookups_new(loop, &lookups, &proxy->lookups);
    if (!error && settings->names_per_minute) {
        struct hash_key key;
        forwarder_random(proxy->forwarder, (uint8_t *)&key, sizeof(key));
        error = names_limit_new(settings->names_per_minute, &key, &proxy->names);
    }
    if (error) {
        dns_proxy_free(proxy);
        return why_set(why, error, "cannot serve DNS: %s", strerrordesc_np(-error));
    }
    *ret = proxy;
    return 0;
}

/* Health probes of an upstream begin when the first one ended: one that asks us would bring them back as questions. */
void dns_proxy_watch_upstreams(struct dns_proxy *proxy)
{
    prober_start(proxy->prober);
    for (size_t i = 0; i < forwarder_upstreams(proxy->forwarder); i++) {
        uint8_t random[LOOP_PROBE_RANDOM], msg[LOOP_PROBE_MAX];
        forwarder_random(proxy->forwarder, random, sizeof(random));
        size_t len = loop_probe_start(&proxy->loop_probes, i, random, msg);
        struct query *query = forwarder_take(proxy->forwarder, msg, len); /* the pool is empty: there is one */
        assert(query);
        query->purpose = QUERY_LOOP_PROBE;
        query->question_end = (uint16_t)len;
        query->edns = (struct dns_edns){0};
        forwarder_send_to(proxy->forwarder, query, i, LOOP_PROBE_NS);
    }
    forwarder_flush(proxy->forwarder);
}

static void drop_query(void *ctx, struct query *query)
{
    proxy_release_all(ctx, query);
}

void dns_proxy_free(struct dns_proxy *proxy)
{
    if (!proxy)
        return;
    if (proxy->forwarder)
        forwarder_abandon(proxy->forwarder, drop_query, proxy);
    lookups_free(proxy->lookups);
    prober_free(proxy->prober);
    forwarder_free(proxy->forwarder);
    own_addresses_free(proxy->own);
    for (size_t i = 0; i < proxy->replies.n_listeners; i++)
        udp_listener_free(proxy->replies.listeners[i]);
    tcp_server_free(proxy->tcp);
    cache_free(proxy->cache);
    names_limit_free(proxy->names);
    free(proxy);
}

void dns_proxy_set_layers(struct dns_proxy *proxy, const struct policy_layers *layers)
{
    proxy->layers = *layers;
    proxy->generation++;
    if (proxy->cache)
        cache_clear(proxy->cache);
}

void dns_proxy_set_log_skip(struct dns_proxy *proxy, const struct policy *log_skip)
{
    proxy->log_skip = log_skip;
}

void dns_proxy_look_up(struct dns_proxy *proxy, struct lookup *lookup)
{
    lookups_start(proxy->lookups, lookup);
    forwarder_flush(proxy->forwarder);
}

void dns_proxy_quiesce(struct dns_proxy *proxy)
{
    for (size_t i = 0; i < proxy->replies.n_listeners; i++)
        udp_listener_quiesce(proxy->replies.listeners[i]);
    tcp_server_quiesce(proxy->tcp);
    prober_stop(proxy->prober);
}

bool dns_proxy_is_home(const struct dns_proxy *proxy, const struct ip_addr *addr)
{
    return ip_is_loopback(addr) || own_addresses_have(proxy->own, addr);
}

bool dns_proxy_busy(const struct dns_proxy *proxy)
{
    size_t own = proxy->loop_probes.active + prober_busy(proxy->prober) + lookups_busy(proxy->lookups);
    return forwarder_inflight(proxy->forwarder) > own || tcp_server_owes(proxy->tcp);
}
