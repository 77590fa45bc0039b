#include "dns/proxy_state.h"

#include "dns/events.h"

/* Whether a stub resolver's search list made the name: then it is not what the application asked for. */
static bool is_made(const struct dns_proxy *proxy, const struct dns_question *question)
{
    return search_list_made(&proxy->layers, proxy->search, proxy->n_search, question->name, question->name_len);
}

/* What a denial leaves behind; with audit it stays without consequence, and what the name leads to is not known yet. */
static void record_denied(struct dns_proxy *proxy, const struct dns_question *question, const struct decision *decision)
{
    metric_add(proxy->metrics, METRIC_POLICY_DENIED, 1);
    bool made = is_made(proxy, question);
    event_denied(proxy->log, made ? LOG_DEBUG : LOG_INFO, question, decision, NULL, proxy->audit);
    if (made || proxy->audit)
        return;
    if (proxy->seen && decision->layer == LAYER_POLICY)
        seen_name(proxy->seen, question->name, question->name_len);
    if (proxy->hooks.denied)
        proxy->hooks.denied(proxy->hooks.ctx, question->name, question->name_len);
}

void proxy_deny(struct dns_proxy *proxy, const struct client *client, const uint8_t *query,
                const struct dns_question *question, const struct dns_edns *edns, const struct decision *decision)
{
    proxy_count(proxy, client, DNS_DENIED);
    replies_empty(&proxy->replies, client, query, question->end, edns, LDNS_RCODE_NXDOMAIN, LDNS_EDE_BLOCKED,
                  "blocked by egress policy");
    record_denied(proxy, question, decision);
}

/* Transfers and meta-queries have no place between a stub and a resolver; NULL is a tunnel's favourite. */
static bool type_refused(uint16_t type)
{
    return type == LDNS_RR_TYPE_NULL || type == LDNS_RR_TYPE_OPT ||
           (type >= LDNS_RR_TYPE_TKEY && type <= LDNS_RR_TYPE_ANY);
}

/* A query with what of the client's an upstream is told: the question, and of header and EDNS the way in which it is
 * asked (cache_key). All else would be a channel to the outside. NULL when there is no room. */
static struct query *take(struct dns_proxy *proxy, const uint8_t *msg, const struct dns_question *question,
                          const struct dns_edns *edns)
{
    /* A client's OPT record follows its question, too, and is no shorter. */
    size_t len = question->end + (edns->present ? DNS_OPT_SIZE : 0u);
    struct query *query = forwarder_take(proxy->forwarder, msg, len);
    if (!query)
        return NULL;
    query->packet[2] &= DNS_KEPT_FLAGS_2;
    query->packet[3] &= DNS_KEPT_FLAGS_3;
    if (edns->present)
        dns_write_opt(query->packet + question->end, edns->dnssec_ok);
    query->question_end = question->end;
    query->type = question->type;
    query->edns = *edns;
    return query;
}

static void forward(struct dns_proxy *proxy, const struct client *client, const uint8_t *msg,
                    const struct dns_question *question, const struct dns_edns *edns, const struct decision *decision,
                    const struct cache_key *key)
{
    struct query *query = take(proxy, msg, question, edns);
    if (!query) {
        proxy_count(proxy, client, DNS_FAILED);
        replies_empty(&proxy->replies, client, msg, question->end, edns, LDNS_RCODE_SERVFAIL, DNS_EDE_NONE, NULL);
        if (decision->action == ACTION_ALLOW)
            event_outbound_failed(proxy->log, question, "too many queries under way");
        return;
    }
    if (client->tcp)
        query->tcp = tcp_client_ref(client->tcp);
    else
        query->peer = *client->peer;
    query->listener = client->listener;
    query->client_payload = client_payload(edns);
    query->generation = proxy->generation;
    query->denied = decision->action == ACTION_DENY;
    query->always = decision->layer != LAYER_POLICY;
    query->started_ns = loop_now(proxy->loop);
    metric_add(proxy->metrics, METRIC_DNS_IN_FLIGHT, 1);
    query->key = *key;
    query->may_be_kept = proxy->cache;
    struct query *asked = sharing_join(&proxy->sharing, query);
    if (asked)
        forwarder_send_again(proxy->forwarder, asked);
    else
        forwarder_send(proxy->forwarder, query);
}

/* The name is one too many below its rule. With audit that is recorded, and nothing else. */
static void refuse_one_too_many(struct dns_proxy *proxy, const struct client *client, const uint8_t *query,
                                const struct dns_question *question, const struct dns_edns *edns,
                                const struct decision *decision)
{
    metric_add(proxy->metrics, METRIC_DNS_LIMITED_NAMES, 1);
    event_denied(proxy->log, is_made(proxy, question) ? LOG_DEBUG : LOG_INFO, question, decision, "names_limit",
                 proxy->audit);
    if (proxy->audit)
        return;
    proxy_count(proxy, client, DNS_DENIED);
    replies_empty(&proxy->replies, client, query, question->end, edns, LDNS_RCODE_NXDOMAIN, LDNS_EDE_BLOCKED,
                  "too many names below one rule");
}

static void answer(struct dns_proxy *proxy, const struct client *client, const uint8_t *msg,
                   const struct dns_question *question, const struct dns_edns *edns, struct decision *decision)
{
    if (proxy->names && decision->action == ACTION_ALLOW &&
        !names_limit_take(proxy->names, decision->rule, question->name, question->name_len, loop_now(proxy->loop))) {
        refuse_one_too_many(proxy, client, msg, question, edns, decision);
        if (!proxy->audit)
            return;
        decision->action = ACTION_DENY; /* recorded as that */
    }
    struct cache_key key = cache_key(proxy->seed, msg, question, edns);
    if (!proxy->cache || !proxy_serve_kept(proxy, client, msg, question, edns, &key, decision->action == ACTION_DENY))
        forward(proxy, client, msg, question, edns, decision, &key);
}

static void handle_query(struct dns_proxy *proxy, const struct client *client, const uint8_t *msg, size_t len)
{
    struct dns_question question;
    struct dns_edns edns;
    switch (dns_scan_query(msg, len, &question, &edns)) {
    case DNS_SCAN_DROP:
        proxy_count(proxy, client, DNS_MALFORMED);
        return;
    case DNS_SCAN_FORMERR:
        proxy_count(proxy, client, DNS_MALFORMED);
        replies_error(&proxy->replies, client, msg, LDNS_RCODE_FORMERR);
        return;
    case DNS_SCAN_NOTIMP:
        proxy_count(proxy, client, DNS_MALFORMED);
        replies_error(&proxy->replies, client, msg, LDNS_RCODE_NOTIMPL);
        return;
    case DNS_SCAN_REFUSED:
        proxy_count(proxy, client, DNS_REFUSED);
        replies_error(&proxy->replies, client, msg, LDNS_RCODE_REFUSED);
        return;
    case DNS_SCAN_OK:
        break;
    }
    if (edns.version) {
        proxy_count(proxy, client, DNS_MALFORMED);
        replies_empty(&proxy->replies, client, msg, question.end, &edns, DNS_BADVERS, DNS_EDE_NONE, NULL);
        return;
    }
    const struct loop_probe *probe = loop_probe_find(&proxy->loop_probes, question.name, question.name_len);
    if (probe && question.type == LDNS_RR_TYPE_TXT) {
        uint8_t *reply = replies_room(&proxy->replies, LOOP_PROBE_MAX);
        replies_send(&proxy->replies, client, reply, loop_probe_answer(probe, msg, question.end, reply));
        return;
    }
    struct decision decision = policy_decide(&proxy->layers, question.name, question.name_len);
    if (decision.action == ACTION_DENY && proxy->audit)
        record_denied(proxy, &question, &decision);
    if (decision.action == ACTION_DENY && !proxy->audit) {
        proxy_deny(proxy, client, msg, &question, &edns, &decision);
    } else if (type_refused(question.type)) {
        proxy_count(proxy, client, DNS_REFUSED);
        replies_empty(&proxy->replies, client, msg, question.end, &edns, LDNS_RCODE_REFUSED, DNS_EDE_NONE, NULL);
    } else {
        answer(proxy, client, msg, &question, &edns, &decision);
    }
}

void proxy_udp_query(void *ctx, uint16_t listener, const struct sock_addr *peer, uint8_t *msg, size_t len)
{
    handle_query(ctx, &(struct client){.listener = listener, .peer = peer}, msg, len);
}

void proxy_tcp_query(void *ctx, struct tcp_client *client, uint8_t *msg, size_t len)
{
    handle_query(ctx, &(struct client){.tcp = client}, msg, len);
}

void proxy_udp_left_out(void *ctx, unsigned n)
{
    struct dns_proxy *proxy = ctx;
    metric_add(proxy->metrics, METRIC_DNS_LIMITED_SHARE, n);
}

void proxy_tcp_limited(void *ctx, enum tcp_limit limit)
{
    static const enum metric counts[] = {
        [TCP_LIMIT_CONNECTIONS] = METRIC_DNS_LIMITED_CONNECTIONS,
        [TCP_LIMIT_PIPELINED] = METRIC_DNS_LIMITED_PIPELINED,
        [TCP_LIMIT_UNSENT] = METRIC_DNS_LIMITED_UNSENT,
    };
    struct dns_proxy *proxy = ctx;
    metric_add(proxy->metrics, counts[limit], 1);
}
