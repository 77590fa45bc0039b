#include "dns/proxy.h"

#include "base/wire.h"
#include "dns/answer.h"
#include "dns/events.h"
#include "dns/forwarder.h"
#include "dns/loop_probe.h"
#include "dns/prober.h"
#include "dns/rebinding.h"
#include "dns/replies.h"
#include "dns/search_list.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define INFLIGHT_MAX 8192
#define CLIENT_PAYLOAD_MAX 4096 /* whatever a UDP client says it takes: longer answers are for TCP */
#define STAGED_MAX 64
#define LOOP_PROBE_NS (5 * NS_PER_S)
#define TCP_CONNECTIONS 256
#define TCP_PIPELINED 32
#define TCP_UNSENT (16u << 20)
#define TCP_IDLE_NS (10 * NS_PER_S)

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
    struct log *log;
    struct replies replies; /* and the UDP listeners */
    struct tcp_server *tcp;
    struct forwarder *forwarder;
    struct loop_probes loop_probes;
    struct prober *prober;
    struct staged staged[STAGED_MAX];
    size_t n_staged;
    struct learned addresses[DNS_MESSAGE_MAX / 15 + 1]; /* as many as one message can hold */
    struct dns_found found[DNS_MESSAGE_MAX / 15 + 1];
    size_t n_addresses;
};

static void deny(struct dns_proxy *proxy, const struct client *client, const uint8_t *query,
                 const struct dns_question *question, const struct dns_edns *edns, const struct decision *decision)
{
    replies_empty(&proxy->replies, client, query, question->end, edns, LDNS_RCODE_NXDOMAIN, LDNS_EDE_BLOCKED,
                  "blocked by egress policy");
    bool made = search_list_made(&proxy->layers, proxy->search, proxy->n_search, question->name, question->name_len);
    event_denied(proxy->log, made ? LOG_DEBUG : LOG_INFO, question, decision);
}

/* Transfers and meta-queries have no place between a stub and a resolver; NULL is a tunnel's favourite. */
static bool type_refused(uint16_t type)
{
    return type == LDNS_RR_TYPE_NULL || type == LDNS_RR_TYPE_OPT ||
           (type >= LDNS_RR_TYPE_TKEY && type <= LDNS_RR_TYPE_ANY);
}

static void forward(struct dns_proxy *proxy, const struct client *client, const uint8_t *msg, size_t len,
                    const struct dns_question *question, const struct dns_edns *edns)
{
    struct query *query = forwarder_take(proxy->forwarder, msg, len);
    if (!query) {
        replies_empty(&proxy->replies, client, msg, question->end, edns, LDNS_RCODE_SERVFAIL, DNS_EDE_NONE, NULL);
        event_outbound_failed(proxy->log, question, "too many queries under way");
        return;
    }
    if (client->tcp)
        query->tcp = tcp_client_ref(client->tcp);
    else
        query->peer = *client->peer;
    query->listener = client->listener;
    query->client_payload = DNS_UDP_PLAIN_MAX;
    if (edns->present) {
        if (edns->payload > DNS_UDP_PLAIN_MAX)
            query->client_payload = edns->payload < CLIENT_PAYLOAD_MAX ? edns->payload : CLIENT_PAYLOAD_MAX;
        if (edns->payload > DNS_UDP_EDNS_MAX)
            wire_store16(query->packet + edns->at, DNS_UDP_EDNS_MAX);
    }
    query->question_end = question->end;
    query->type = question->type;
    query->edns = *edns;
    query->generation = proxy->generation;
    query->started_ns = loop_now(proxy->loop);
    forwarder_send(proxy->forwarder, query);
}

static void handle_query(struct dns_proxy *proxy, const struct client *client, const uint8_t *msg, size_t len)
{
    struct dns_question question;
    struct dns_edns edns;
    switch (dns_scan_query(msg, len, &question, &edns)) {
    case DNS_SCAN_DROP:
        return;
    case DNS_SCAN_FORMERR:
        replies_error(&proxy->replies, client, msg, LDNS_RCODE_FORMERR);
        return;
    case DNS_SCAN_NOTIMP:
        replies_error(&proxy->replies, client, msg, LDNS_RCODE_NOTIMPL);
        return;
    case DNS_SCAN_REFUSED:
        replies_error(&proxy->replies, client, msg, LDNS_RCODE_REFUSED);
        return;
    case DNS_SCAN_OK:
        break;
    }
    if (edns.version) {
        replies_empty(&proxy->replies, client, msg, question.end, &edns, DNS_BADVERS, DNS_EDE_NONE, NULL);
        return;
    }
    const struct loop_probe *probe = loop_probe_find(&proxy->loop_probes, question.name, question.name_len);
    if (probe && question.type == LDNS_RR_TYPE_TXT) {
        uint8_t *answer = replies_room(&proxy->replies);
        replies_send(&proxy->replies, client, answer, loop_probe_answer(probe, msg, question.end, answer));
        return;
    }
    struct decision decision = policy_decide(&proxy->layers, question.name, question.name_len);
    if (decision.action == ACTION_DENY)
        deny(proxy, client, msg, &question, &edns, &decision);
    else if (type_refused(question.type))
        replies_empty(&proxy->replies, client, msg, question.end, &edns, LDNS_RCODE_REFUSED, DNS_EDE_NONE, NULL);
    else
        forward(proxy, client, msg, len, &question, &edns);
}

static void udp_query(void *ctx, uint16_t listener, const struct sock_addr *peer, uint8_t *msg, size_t len)
{
    handle_query(ctx, &(struct client){.listener = listener, .peer = peer}, msg, len);
}

static void tcp_query(void *ctx, struct tcp_client *client, uint8_t *msg, size_t len)
{
    handle_query(ctx, &(struct client){.tcp = client}, msg, len);
}

static struct client client_of(const struct query *query)
{
    return (struct client){.tcp = query->tcp, .listener = query->listener, .peer = &query->peer};
}

/* The question of a query that was scanned when it came in. */
static void question_of(const struct query *query, struct dns_question *ret)
{
    ret->name_len = (uint8_t)(query->question_end - DNS_HEADER_SIZE - 4);
    dns_lower(ret->name, query->packet + DNS_HEADER_SIZE, ret->name_len);
    ret->type = query->type;
    ret->end = query->question_end;
}

static void release(struct dns_proxy *proxy, struct query *query)
{
    struct tcp_client *tcp = query->tcp;
    forwarder_release(proxy->forwarder, query);
    if (tcp)
        tcp_client_unref(tcp);
}

/* SERVFAIL to whoever asked, and the end of the query. */
static void fail(struct dns_proxy *proxy, struct query *query, const struct dns_question *question, int ede,
                 const char *error)
{
    struct client client = client_of(query);
    wire_store16(query->packet, query->client_id); /* it is not sent any more */
    replies_empty(&proxy->replies, &client, query->packet, question->end, &query->edns, LDNS_RCODE_SERVFAIL, ede,
                  error);
    event_outbound_failed(proxy->log, question, error);
    release(proxy, query);
}

/* Nobody asked: what we wanted to know is known. `msg` is NULL when no answer came. */
static void end_probe(struct dns_proxy *proxy, struct query *query, const uint8_t *msg, size_t len)
{
    size_t upstream = query->upstream;
    bool loops = false;
    if (query->purpose == QUERY_HEALTH_PROBE) {
        prober_ended(proxy->prober, query, msg ? NULL : query->error);
    } else {
        loops = msg && loop_probe_came_back(&proxy->loop_probes.list[upstream], msg, len);
        loop_probe_end(&proxy->loop_probes, upstream);
    }
    release(proxy, query);
    if (loops)
        proxy->hooks.upstream_loops(proxy->hooks.ctx, upstream, forwarder_drop_upstream(proxy->forwarder, upstream));
}

static void upstreams_exhausted(void *ctx, struct query *query)
{
    struct dns_proxy *proxy = ctx;
    struct dns_question question;
    if (query->purpose != QUERY_CLIENT) {
        end_probe(proxy, query, NULL, 0);
        return;
    }
    question_of(query, &question);
    fail(proxy, query, &question, LDNS_EDE_NO_REACHABLE_AUTHORITY, query->error);
}

/* Hands one staged answer to its client, as the client asked for it. */
static void deliver(struct dns_proxy *proxy, struct staged *staged)
{
    struct query *query = staged->query;
    struct client client = client_of(query);
    wire_store16(staged->msg, query->client_id);
    /* The client's own spelling, whatever the upstream made of it (draft-vixie-dnsext-dns0x20). */
    memcpy(staged->msg + DNS_HEADER_SIZE, query->packet + DNS_HEADER_SIZE,
           (size_t)(query->question_end - DNS_HEADER_SIZE));
    if (!query->tcp && staged->len > query->client_payload)
        staged->len = dns_reply_truncate(staged->msg, query->question_end, &query->edns);
    replies_send(&proxy->replies, &client, staged->msg, staged->len);
    event_outbound(proxy->log, proxy->log_skip, &staged->question, proxy->addresses + staged->first, staged->n);
}

static bool learn(struct dns_proxy *proxy, size_t first, size_t n)
{
    return !n || !proxy->hooks.learn(proxy->hooks.ctx, proxy->addresses + first, n, loop_now(proxy->loop));
}

/* The end of a batch: addresses into the kernel first, answers to the clients after it. What is too much at once may do
 * answer by answer. */
static void commit(void *ctx)
{
    struct dns_proxy *proxy = ctx;
    bool all = learn(proxy, 0, proxy->n_addresses);
    for (size_t i = 0; i < proxy->n_staged; i++) {
        struct staged *staged = &proxy->staged[i];
        staged->reachable = all || learn(proxy, staged->first, staged->n);
        if (staged->reachable)
            deliver(proxy, staged);
        else
            fail(proxy, staged->query, &staged->question, DNS_EDE_NONE, "the kernel did not take the addresses");
    }
    forwarder_flush(proxy->forwarder);
    replies_flush(&proxy->replies);
    for (size_t i = 0; i < proxy->n_staged; i++)
        if (proxy->staged[i].reachable)
            release(proxy, proxy->staged[i].query);
    proxy->n_staged = proxy->n_addresses = 0;
}

/* Takes out of the answer what the rebinding guard refuses. 0; -ENODATA when nothing is left, or -EBADMSG. */
static int guard_addresses(struct dns_proxy *proxy, struct staged *staged)
{
    struct rebinding rebinding = {.layers = &proxy->layers, .own = proxy->own};
    int error = rebinding_scan(&rebinding, staged->msg, staged->len, staged->question.end);
    if (error || !rebinding.n_refused)
        return error;
    if (LDNS_TC_WIRE(staged->msg))
        return -EBADMSG;
    event_rebinding(proxy->log, &staged->question, &rebinding);
    staged->n = rebinding_filter(&rebinding, proxy->found, staged->n);
    if (staged->n)
        staged->len = dns_reply_addresses(staged->msg, staged->len, staged->question.end, &staged->query->edns,
                                          proxy->found, &staged->n);
    return staged->n ? 0 : -ENODATA;
}

/* Notes the answer's addresses for the end of the batch and caps their TTLs. 0; -ENODATA when none may be told, or
 * -EBADMSG. */
static int stage_addresses(struct dns_proxy *proxy, struct staged *staged)
{
    uint16_t type = staged->question.type;
    if ((type != LDNS_RR_TYPE_A && type != LDNS_RR_TYPE_AAAA) || LDNS_RCODE_WIRE(staged->msg) != LDNS_RCODE_NOERROR)
        return 0;
    int error = dns_answer_addresses(staged->msg, staged->len, &staged->question, proxy->found, &staged->n);
    if (!error)
        error = guard_addresses(proxy, staged);
    if (error == -EBADMSG && LDNS_TC_WIRE(staged->msg)) { /* of no use as it is: the client comes again over TCP */
        staged->len = dns_reply_truncate(staged->msg, staged->question.end, &staged->query->edns);
        staged->n = 0;
        return 0;
    }
    if (error)
        return error;
    for (size_t i = 0; i < staged->n; i++) {
        const struct dns_found *found = &proxy->found[i];
        if (proxy->hooks.hold_seconds) {
            uint32_t hold = proxy->hooks.hold_seconds(found->ttl);
            wire_store32(staged->msg + found->ttl_at, found->ttl < hold ? found->ttl : hold);
        }
        proxy->addresses[proxy->n_addresses++] = (struct learned){.addr = found->addr,
                                                                  .ttl = found->ttl,
                                                                  .name = staged->question.name,
                                                                  .name_len = staged->question.name_len};
    }
    return 0;
}

/* The guard left no address: the name exists, and has none of this type. */
static void answer_nothing(struct dns_proxy *proxy, const struct staged *staged)
{
    struct query *query = staged->query;
    struct client client = client_of(query);
    wire_store16(query->packet, query->client_id);
    replies_empty(&proxy->replies, &client, query->packet, query->question_end, &query->edns, LDNS_RCODE_NOERROR,
                  LDNS_EDE_BLOCKED, "blocked by the rebinding guard");
    event_outbound(proxy->log, proxy->log_skip, &staged->question, NULL, 0);
    release(proxy, query);
}

static bool answered(void *ctx, struct query *query, uint8_t *msg, size_t len)
{
    struct dns_proxy *proxy = ctx;
    if (query->purpose != QUERY_CLIENT) {
        end_probe(proxy, query, msg, len);
        return true;
    }
    if (proxy->n_staged == STAGED_MAX ||
        proxy->n_addresses + dns_found_max(len) > sizeof(proxy->addresses) / sizeof(proxy->addresses[0]))
        commit(proxy);
    struct staged *staged = &proxy->staged[proxy->n_staged];
    *staged = (struct staged){.query = query, .msg = msg, .len = len, .first = proxy->n_addresses};
    question_of(query, &staged->question);
    if (query->generation != proxy->generation) {
        struct decision decision = policy_decide(&proxy->layers, staged->question.name, staged->question.name_len);
        if (decision.action == ACTION_DENY) {
            struct client client = client_of(query);
            wire_store16(query->packet, query->client_id);
            deny(proxy, &client, query->packet, &staged->question, &query->edns, &decision);
            release(proxy, query);
            return true;
        }
    }
    int error = stage_addresses(proxy, staged);
    if (!error)
        proxy->n_staged++;
    else if (error == -ENODATA)
        answer_nothing(proxy, staged);
    return error != -EBADMSG;
}

/* Takes all sockets over, also when it fails. */
static int open_listeners(struct dns_proxy *proxy, const struct dns_settings *settings)
{
    struct udp_listener_callbacks udp = {.ctx = proxy, .query = udp_query, .batch_end = commit};
    struct tcp_limits limits = {
        .connections = TCP_CONNECTIONS, .pipelined = TCP_PIPELINED, .unsent = TCP_UNSENT, .idle_ns = TCP_IDLE_NS};
    struct tcp_callbacks tcp = {.ctx = proxy, .query = tcp_query, .batch_end = commit};
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
    proxy->hooks = *hooks;
    proxy->layers = *layers;
    proxy->search = settings->search;
    proxy->n_search = settings->n_search;
    proxy->log_skip = settings->log_skip;
    proxy->log = log;
    struct forwarder_settings forwarding = {
        .upstreams = settings->upstreams,
        .n_upstreams = settings->n_upstreams,
        .unmarked = settings->unmarked,
        .n_unmarked = settings->n_unmarked,
        .mark = settings->mark,
        .timeout_ns = settings->timeout_s * NS_PER_S,
        .capacity = INFLIGHT_MAX,
    };
    struct forwarder_callbacks callbacks = {
        .ctx = proxy, .answered = answered, .failed = upstreams_exhausted, .batch_end = commit};
    int error = open_listeners(proxy, settings);
    if (!error)
        error = own_addresses_new(loop, log, &proxy->own);
    if (!error)
        error = forwarder_new(loop, &forwarding, &callbacks, &proxy->forwarder);
    if (!error)
        error =
            prober_new(loop, proxy->forwarder, log, settings->probe_name, settings->probe_interval_s, &proxy->prober);
    if (error) {
        dns_proxy_free(proxy);
        return why_set(why, error, "cannot serve DNS: %s", strerrordesc_np(-error));
    }
    *ret = proxy;
    return 0;
}

void dns_proxy_watch_upstreams(struct dns_proxy *proxy)
{
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
    prober_start(proxy->prober); /* and the datagrams leave */
}

static void drop_query(void *ctx, struct query *query)
{
    release(ctx, query);
}

void dns_proxy_free(struct dns_proxy *proxy)
{
    if (!proxy)
        return;
    if (proxy->forwarder)
        forwarder_abandon(proxy->forwarder, drop_query, proxy);
    prober_free(proxy->prober);
    forwarder_free(proxy->forwarder);
    own_addresses_free(proxy->own);
    for (size_t i = 0; i < proxy->replies.n_listeners; i++)
        udp_listener_free(proxy->replies.listeners[i]);
    tcp_server_free(proxy->tcp);
    free(proxy);
}

void dns_proxy_set_layers(struct dns_proxy *proxy, const struct policy_layers *layers)
{
    proxy->layers = *layers;
    proxy->generation++;
}

void dns_proxy_set_log_skip(struct dns_proxy *proxy, const struct policy *log_skip)
{
    proxy->log_skip = log_skip;
}

void dns_proxy_quiesce(struct dns_proxy *proxy)
{
    for (size_t i = 0; i < proxy->replies.n_listeners; i++)
        udp_listener_quiesce(proxy->replies.listeners[i]);
    tcp_server_quiesce(proxy->tcp);
    prober_stop(proxy->prober);
}

bool dns_proxy_busy(const struct dns_proxy *proxy)
{
    size_t probes = proxy->loop_probes.active + prober_busy(proxy->prober);
    return forwarder_inflight(proxy->forwarder) > probes || tcp_server_owes(proxy->tcp);
}
