/* What the parts of the proxy share: proxy.c (its life), proxy_query.c (what clients ask), proxy_cache.c (what is
 * answered without asking), proxy_answer.c (what upstreams answer). Nobody else includes this. */
#ifndef DNS_PROXY_STATE_H
#define DNS_PROXY_STATE_H

#include "dns/answer.h"
#include "dns/forwarder.h"
#include "dns/lookups.h"
#include "dns/loop_probe.h"
#include "dns/names_limit.h"
#include "dns/prober.h"
#include "dns/proxy.h"
#include "dns/rebinding.h"
#include "dns/replies.h"
#include "dns/search_list.h"
#include "dns/sharing.h"

#define STAGED_MAX 64
#define CLIENT_PAYLOAD_MAX 4096 /* whatever a UDP client says it takes: longer answers are for TCP */

/* An answer that waits for the end of its batch, when all its addresses are made reachable at once. */
struct staged {
    struct query *query;
    uint8_t *msg;
    size_t len;
    size_t first, n; /* of proxy->addresses */
    bool reachable;  /* the kernel took them */
    struct dns_question question;
};

struct dns_proxy {
    struct loop *loop;
    struct dns_hooks hooks;
    struct policy_layers layers;
    uint32_t generation; /* of the layers */
    struct own_addresses *own;
    const struct dns_suffix *search;
    size_t n_search;
    const struct policy *log_skip;
    bool audit;
    struct seen *seen; /* or NULL */
    struct log *log;
    struct metrics *metrics;
    struct replies replies; /* and the UDP listeners */
    struct tcp_server *tcp;
    struct forwarder *forwarder;
    struct loop_probes loop_probes;
    struct prober *prober;
    struct lookups *lookups;
    struct names_limit *names; /* NULL: off */
    struct cache *cache;       /* NULL: off */
    uint64_t seed;             /* of cache_key() */
    unsigned cached_for;       /* own_addresses_version() when its answers were looked at */
    uint64_t warned_ns;        /* of forged answers, last; 0: never */
    struct sharing sharing;
    struct staged staged[STAGED_MAX];
    size_t n_staged;
    struct learned addresses[DNS_MESSAGE_MAX / 15 + 1]; /* as many as one message can hold */
    struct dns_found found[DNS_MESSAGE_MAX / 15 + 1];
    size_t n_addresses;
};

/* Callbacks of listeners; each query of a client. */
void proxy_udp_query(void *ctx, uint16_t listener, const struct sock_addr *peer, uint8_t *msg, size_t len);
void proxy_tcp_query(void *ctx, struct tcp_client *client, uint8_t *msg, size_t len);
/* What the listeners' limits took away. */
void proxy_udp_left_out(void *ctx, unsigned n);
void proxy_tcp_limited(void *ctx, enum tcp_limit limit);
/* Refuses a name: the reply and the event. Not with audit. */
void proxy_deny(struct dns_proxy *proxy, const struct client *client, const uint8_t *query,
                const struct dns_question *question, const struct dns_edns *edns, const struct decision *decision);

/* Answers from the cache, when it has an answer whose addresses stay reachable for as long as it may be held. Recorded
 * unless `denied`: with audit, the name was recorded as that. */
bool proxy_serve_kept(struct dns_proxy *proxy, const struct client *client, const uint8_t *query,
                      const struct dns_question *question, const struct dns_edns *edns, const struct cache_key *key,
                      bool denied);
/* Keeps a staged answer, whose addresses are in proxy->found, if it may be kept. */
void proxy_keep(struct dns_proxy *proxy, const struct staged *staged);
/* Bytes that a client takes over UDP. */
static inline uint16_t client_payload(const struct dns_edns *edns)
{
    if (!edns->present || edns->payload < DNS_UDP_PLAIN_MAX)
        return DNS_UDP_PLAIN_MAX;
    return edns->payload < CLIENT_PAYLOAD_MAX ? edns->payload : CLIENT_PAYLOAD_MAX;
}

/* Callbacks of the forwarder, see there. */
bool proxy_answered(void *ctx, struct query *query, uint8_t *msg, size_t len);
void proxy_upstreams_exhausted(void *ctx, struct query *query);
void proxy_suspects(void *ctx, size_t upstream, enum suspicion what) __attribute__((cold));
/* The end of a batch: addresses into the kernel first, answers to the clients after it. */
void proxy_commit(void *ctx);
/* The end of a query and of those that share it. */
void proxy_release_all(struct dns_proxy *proxy, struct query *query);
/* The end of one query. */
void proxy_release(struct dns_proxy *proxy, struct query *query);

/* What became of a client's query; once for each. */
static inline void proxy_count(struct dns_proxy *proxy, const struct client *client, enum dns_result result)
{
    metric_add(proxy->metrics, metric_dns_queries(result, client->tcp ? DNS_TCP : DNS_UDP), 1);
}

#endif
