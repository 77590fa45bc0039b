/* The DNS proxy: clients on UDP and TCP in front, upstream resolvers behind, a policy in between. Runs in the loop. */
#ifndef DNS_PROXY_H
#define DNS_PROXY_H

#include "base/learned.h"
#include "base/log.h"
#include "base/lookup.h"
#include "base/loop.h"
#include "base/metrics.h"
#include "base/own_socket.h"
#include "dns/resolv_conf.h"
#include "policy/seen.h"

#include <stddef.h>
#include <stdint.h>

struct dns_hooks {
    void *ctx;
    /* Makes the addresses of one batch of answers reachable, before the answers leave. All or none; 0 or -errno. */
    int (*learn)(void *ctx, const struct learned *addresses, size_t n, uint64_t now_ns);
    /* Whether the address stays reachable for that many seconds from now; NULL: any does. */
    bool (*reaches)(void *ctx, const struct ip_addr *addr, uint32_t seconds, uint64_t now_ns);
    /* Seconds for which a client may hold an address that is learned now with this TTL; NULL: as long as it says. */
    uint32_t (*hold_seconds)(uint32_t ttl);
    /* A client's query for this name (wire format, lower-case) was denied; not called for names that a search list
     * made, nor with audit. NULL: nobody wants to know. */
    void (*denied)(void *ctx, const uint8_t *name, size_t len);
    /* Upstream `i` of the settings turned out to ask us, and is not asked any more; `left` others are. */
    void (*upstream_loops)(void *ctx, size_t i, size_t left);
};

/* Borrowed for the life of the proxy. */
struct dns_settings {
    const int *udp_fds; /* listeners, bound; taken over, even when there is an error */
    size_t n_udp;
    const int *tcp_fds;
    size_t n_tcp;
    const struct sock_addr *upstreams; /* in order of preference */
    size_t n_upstreams;
    const struct ip_addr *unmarked; /* upstream traffic to these carries no mark */
    size_t n_unmarked;
    const struct own_mark *own; /* of upstream sockets; NULL: none */
    bool mix_case;              /* of the letters in questions to upstreams, see query_mix_case() */
    unsigned timeout_s;         /* for one query over all upstreams */
    const char *probe_name;     /* what upstreams are asked to see whether they answer; see prober.h */
    unsigned probe_interval_s;
    size_t cache_entries;            /* answers kept, CACHE_ENTRIES_MAX at most; 0: none */
    const struct dns_suffix *search; /* what stub resolvers put behind names */
    size_t n_search;
    unsigned ndots;                /* as in resolv_conf.h, for names that the sidecar itself looks up */
    const struct policy *log_skip; /* names not logged on success; may be NULL; see dns_proxy_set_log_skip */
    unsigned inflight;             /* queries under way, 1 .. 32768 */
    unsigned tcp_connections;      /* tcp_clients.h says what becomes of more */
    unsigned tcp_pipelined;
    unsigned tcp_unsent_kib;
    unsigned names_per_minute; /* names_limit.h; 0: no limit */
    bool audit;                /* what would be refused is recorded, and answered as if it were allowed */
    struct seen *seen;         /* what the policy decides goes in, see seen.h; NULL: nothing */
    struct metrics *metrics;
};

struct dns_proxy;

int dns_proxy_new(struct loop *loop, const struct dns_settings *settings, const struct dns_hooks *hooks,
                  const struct policy_layers *layers, struct log *log, struct dns_proxy **ret, struct why *why);
void dns_proxy_free(struct dns_proxy *proxy);
/* Asks every upstream whether it asks us in turn, and, from now on, whether it answers. Once, when the redirect is in
 * place. */
void dns_proxy_watch_upstreams(struct dns_proxy *proxy);
/* From the next query on these layers decide; answers under way are decided anew. The pointers are borrowed until the
 * next call. */
void dns_proxy_set_layers(struct dns_proxy *proxy, const struct policy_layers *layers);
void dns_proxy_set_log_skip(struct dns_proxy *proxy, const struct policy *log_skip);
/* Asks the upstreams for a name that the sidecar itself needs; see lookups.h. No policy, no event, no count. */
void dns_proxy_look_up(struct dns_proxy *proxy, struct lookup *lookup);
/* Whether the address is this namespace's own: of an interface, or loopback's. */
bool dns_proxy_is_home(const struct dns_proxy *proxy, const struct ip_addr *addr);
/* Takes no new queries of clients; those under way are still answered. */
void dns_proxy_quiesce(struct dns_proxy *proxy);
/* Whether somebody still waits for an answer. */
bool dns_proxy_busy(const struct dns_proxy *proxy);

#endif
