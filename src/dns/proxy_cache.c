#include "dns/proxy_state.h"

#include "base/wire.h"
#include "dns/events.h"

#include <string.h>

/* What was looked at with other addresses of our own is looked at anew (rebinding.h). */
static void forget_when_moved(struct dns_proxy *proxy)
{
    unsigned version = own_addresses_version(proxy->own);
    if (proxy->cached_for == version)
        return;
    proxy->cached_for = version;
    cache_clear(proxy->cache);
}

/* An address can make room for others, or end early: then it is asked for anew, and learned. */
static bool all_reachable(const struct dns_proxy *proxy, size_t n)
{
    for (size_t i = 0; i < n && proxy->hooks.reaches; i++)
        if (!proxy->hooks.reaches(proxy->hooks.ctx, &proxy->found[i].addr, proxy->found[i].ttl, loop_now(proxy->loop)))
            return false;
    return true;
}

bool proxy_serve_kept(struct dns_proxy *proxy, const struct client *client, const uint8_t *query,
                      const struct dns_question *question, const struct dns_edns *edns, const struct cache_key *key,
                      bool denied)
{
    forget_when_moved(proxy);
    uint8_t *msg = replies_room(&proxy->replies, CACHE_ROOM);
    size_t n;
    size_t len = cache_get(proxy->cache, key, question, loop_now(proxy->loop), msg, proxy->found, &n);
    if (!len || !all_reachable(proxy, n))
        return false;
    memcpy(msg, query, 2);
    memcpy(msg + DNS_HEADER_SIZE, query + DNS_HEADER_SIZE, (size_t)question->end - DNS_HEADER_SIZE);
    if (!client->tcp && len > client_payload(edns))
        len = dns_reply_truncate(msg, question->end, edns);
    /* Counted first: whoever has the answer finds it in the metrics. */
    proxy_count(proxy, client, DNS_ALLOWED);
    metric_add(proxy->metrics, (enum metric)(METRIC_DNS_CACHE_HITS + (client->tcp ? DNS_TCP : DNS_UDP)), 1);
    replies_send(&proxy->replies, client, msg, len);
    if (!denied)
        event_outbound_kept(proxy->log, proxy->log_skip, question, proxy->found, n);
    return true;
}

void proxy_keep(struct dns_proxy *proxy, const struct staged *staged)
{
    struct ttls ttls;
    if (!staged->query->may_be_kept)
        return;
    forget_when_moved(proxy);
    if (ttls_scan(staged->msg, staged->len, &staged->question, proxy->found, staged->n, &ttls))
        cache_put(proxy->cache, &staged->query->key, &staged->question, staged->msg, staged->len, &ttls,
                  loop_now(proxy->loop));
}
