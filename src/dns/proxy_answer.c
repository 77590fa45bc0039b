#include "dns/proxy_state.h"

#include "base/wire.h"
#include "dns/events.h"

#include <errno.h>
#include <string.h>

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

void proxy_release(struct dns_proxy *proxy, struct query *query)
{
    struct tcp_client *tcp = query->tcp;
    if (query->purpose == QUERY_CLIENT)
        metric_set(proxy->metrics, METRIC_DNS_IN_FLIGHT, metric_get(proxy->metrics, METRIC_DNS_IN_FLIGHT) - 1);
    sharing_end(&proxy->sharing, query);
    forwarder_release(proxy->forwarder, query);
    if (tcp)
        tcp_client_unref(tcp);
}

static uint64_t latency_ns(const struct dns_proxy *proxy, const struct query *query)
{
    return loop_now(proxy->loop) - query->started_ns;
}

/* A query that was forwarded has its end: counts it, and how long it took. */
static void count_forwarded(struct dns_proxy *proxy, const struct query *query, const struct client *client,
                            enum dns_result result)
{
    proxy_count(proxy, client, result);
    histogram_record(&proxy->metrics->dns_query_duration, (double)latency_ns(proxy, query) / (double)NS_PER_S);
}

void proxy_release_all(struct dns_proxy *proxy, struct query *query)
{
    for (struct query *next; query; query = next) {
        next = query->next_asker;
        proxy_release(proxy, query);
    }
}

/* For the policy that would have allowed it. */
static void note_name(struct dns_proxy *proxy, const struct query *query, const struct dns_question *question)
{
    if (proxy->seen && !query->always)
        seen_name(proxy->seen, question->name, question->name_len);
}

/* SERVFAIL to whoever asked, and the end of the query. */
static void fail(struct dns_proxy *proxy, struct query *query, const struct dns_question *question, int ede,
                 const char *error)
{
    struct query *others = sharing_split(&proxy->sharing, query, false);
    for (struct query *asker = query; asker; asker = asker->next_asker) {
        struct client client = client_of(asker);
        count_forwarded(proxy, asker, &client, DNS_FAILED);
        query_give_back(asker);
        replies_empty(&proxy->replies, &client, asker->packet, question->end, &asker->edns, LDNS_RCODE_SERVFAIL, ede,
                      error);
        if (!asker->denied)
            event_outbound_failed(proxy->log, question, error);
    }
    note_name(proxy, query, question); /* whether it exists is not known */
    proxy_release_all(proxy, query);
    if (others)
        forwarder_send(proxy->forwarder, others);
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
        if (!loops)
            prober_probe(proxy->prober, upstream);
    }
    proxy_release(proxy, query);
    size_t left = loops ? forwarder_drop_upstream(proxy->forwarder, upstream) : 0;
    metric_set(proxy->metrics, METRIC_UPSTREAMS_HEALTHY, forwarder_healthy(proxy->forwarder));
    if (loops)
        proxy->hooks.upstream_loops(proxy->hooks.ctx, upstream, left);
}

void proxy_upstreams_exhausted(void *ctx, struct query *query)
{
    struct dns_proxy *proxy = ctx;
    struct dns_question question;
    if (query->purpose == QUERY_LOOKUP) {
        lookups_failed(proxy->lookups, query);
        return;
    }
    if (query->purpose != QUERY_CLIENT) {
        end_probe(proxy, query, NULL, 0);
        return;
    }
    question_of(query, &question);
    fail(proxy, query, &question, LDNS_EDE_NO_REACHABLE_AUTHORITY, query->error);
}

#define WARNED_FOR_NS (60 * NS_PER_S)

/* Each is counted; a line a minute is enough for who reads. */
void proxy_suspects(void *ctx, size_t upstream, enum suspicion what)
{
    struct dns_proxy *proxy = ctx;
    char text[SOCK_ADDR_TEXT_MAX];
    uint64_t now = loop_now(proxy->loop);
    sock_addr_format(&forwarder_upstream(proxy->forwarder, upstream)->addr, text);
    if (what == SUSPECT_SPELLING) {
        log_printf(proxy->log, LOG_WARN,
                   "upstream %s changes the case of letters in questions: forged answers are told by port and id alone",
                   text);
        return;
    }
    metric_add(proxy->metrics, what == SUSPECT_FLOOD ? METRIC_DNS_SUSPECT_FLOOD : METRIC_DNS_SUSPECT_FORGED, 1);
    if (proxy->warned_ns && now - proxy->warned_ns < WARNED_FOR_NS)
        return;
    proxy->warned_ns = now;
    if (what == SUSPECT_FLOOD)
        log_printf(proxy->log, LOG_WARN,
                   "more answers than questions from upstream %s: somebody guesses, or the network doubles them; what "
                   "was under way on that port is asked over TCP",
                   text);
    else
        log_printf(proxy->log, LOG_WARN,
                   "a forged answer from upstream %s: right id and port, and not the letters that were asked; it was "
                   "not believed",
                   text);
}

/* Hands `msg`, which holds the staged answer, to one client, as that client asked for it. */
static void deliver_to(struct dns_proxy *proxy, const struct staged *staged, struct query *query, uint8_t *msg)
{
    struct client client = client_of(query);
    size_t len = staged->len;
    count_forwarded(proxy, query, &client, DNS_ALLOWED);
    query_give_back(query);
    wire_store16(msg, query->client_id);
    /* The client's own spelling, whatever the upstream made of it (draft-vixie-dnsext-dns0x20). */
    memcpy(msg + DNS_HEADER_SIZE, query->packet + DNS_HEADER_SIZE, (size_t)(query->question_end - DNS_HEADER_SIZE));
    if (!query->tcp && len > query->client_payload)
        len = dns_reply_truncate(msg, query->question_end, &query->edns);
    replies_send(&proxy->replies, &client, msg, len);
    if (!query->denied)
        event_outbound(proxy->log, proxy->log_skip, &staged->question, proxy->addresses + staged->first, staged->n,
                       latency_ns(proxy, query));
}

/* Everybody gets a copy but the first, and, over TCP, where sending copies. */
static void deliver(struct dns_proxy *proxy, const struct staged *staged)
{
    size_t len = staged->len < CLIENT_PAYLOAD_MAX ? staged->len : CLIENT_PAYLOAD_MAX;
    for (struct query *asker = staged->query->next_asker; asker; asker = asker->next_asker) {
        uint8_t *msg = staged->msg;
        if (!asker->tcp) {
            msg = replies_room(&proxy->replies, len < DNS_REPLY_MAX ? DNS_REPLY_MAX : len);
            memcpy(msg, staged->msg, len);
        }
        deliver_to(proxy, staged, asker, msg);
    }
    deliver_to(proxy, staged, staged->query, staged->msg);
}

static bool learn(struct dns_proxy *proxy, size_t first, size_t n)
{
    return !n || !proxy->hooks.learn(proxy->hooks.ctx, proxy->addresses + first, n, loop_now(proxy->loop));
}

/* The end of a batch: addresses into the kernel first, answers to the clients after it. What is too much at once may do
 * answer by answer. */
void proxy_commit(void *ctx)
{
    struct dns_proxy *proxy = ctx;
    bool all = learn(proxy, 0, proxy->n_addresses), refused = false;
    for (size_t i = 0; i < proxy->n_staged; i++) {
        struct staged *staged = &proxy->staged[i];
        staged->reachable = all || learn(proxy, staged->first, staged->n) || proxy->audit;
        if (staged->reachable)
            deliver(proxy, staged);
        else
            fail(proxy, staged->query, &staged->question, DNS_EDE_NONE, "the kernel did not take the addresses");
        refused |= !staged->reachable;
    }
    if (refused && proxy->cache) /* where the answer is, too, and another name's address may be the same */
        cache_clear(proxy->cache);
    forwarder_flush(proxy->forwarder);
    replies_flush(&proxy->replies);
    for (size_t i = 0; i < proxy->n_staged; i++)
        if (proxy->staged[i].reachable)
            proxy_release_all(proxy, proxy->staged[i].query);
    proxy->n_staged = proxy->n_addresses = 0;
}

/* With audit: the answer stays whole. What would be taken out is not learned all the same, since a later start that
 * enforces takes over what was. */
static void pass_refused(struct dns_proxy *proxy, struct staged *staged, const struct rebinding *rebinding)
{
    staged->n = rebinding_filter(rebinding, proxy->found, staged->n);
    staged->query->may_be_kept = false; /* the next one is recorded, too */
}

static void note_refused(struct dns_proxy *proxy, const struct rebinding *rebinding)
{
    for (size_t i = 0; proxy->seen && i < rebinding->n_refused && i < REBINDING_SHOWN_MAX; i++)
        seen_addr(proxy->seen, &rebinding->refused[i]);
}

static bool leads_to_addresses(const struct dns_question *question)
{
    return question->type == LDNS_RR_TYPE_A || question->type == LDNS_RR_TYPE_AAAA;
}

/* Takes out of the answer what the rebinding guard refuses. 0; -ENODATA when nothing is left, or -EBADMSG. */
static int guard_addresses(struct dns_proxy *proxy, struct staged *staged)
{
    struct rebinding rebinding = {.layers = &proxy->layers, .own = proxy->own};
    int error = rebinding_scan(&rebinding, staged->msg, staged->len, staged->question.end);
    if (error || !rebinding.n_refused)
        return error;
    if (LDNS_TC_WIRE(staged->msg) && !proxy->audit)
        return -EBADMSG;
    event_rebinding(proxy->log, &staged->question, &rebinding, proxy->audit);
    note_refused(proxy, &rebinding);
    if (proxy->audit) {
        pass_refused(proxy, staged, &rebinding);
        return 0;
    }
    if (!leads_to_addresses(&staged->question)) /* what of such records is bad cannot be taken out */
        return -ENODATA;
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
    int error = 0;
    if (LDNS_RCODE_WIRE(staged->msg) != LDNS_RCODE_NOERROR)
        return 0;
    if (leads_to_addresses(&staged->question))
        error = dns_answer_addresses(staged->msg, staged->len, &staged->question, proxy->found, &staged->n);
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
    for (struct query *asker = staged->query; asker; asker = asker->next_asker) {
        struct client client = client_of(asker);
        count_forwarded(proxy, asker, &client, DNS_ALLOWED);
        query_give_back(asker);
        replies_empty(&proxy->replies, &client, asker->packet, asker->question_end, &asker->edns, LDNS_RCODE_NOERROR,
                      LDNS_EDE_BLOCKED, "blocked by the rebinding guard");
        event_outbound(proxy->log, proxy->log_skip, &staged->question, NULL, 0, latency_ns(proxy, asker));
    }
    proxy_release_all(proxy, staged->query);
}

/* The policy changed while the query was under way, and denies the name by now. */
static void deny_late(struct dns_proxy *proxy, const struct staged *staged, const struct decision *decision)
{
    for (struct query *asker = staged->query; asker; asker = asker->next_asker) {
        struct client client = client_of(asker);
        query_give_back(asker);
        proxy_deny(proxy, &client, asker->packet, &staged->question, &asker->edns, decision);
    }
    proxy_release_all(proxy, staged->query);
}

bool proxy_answered(void *ctx, struct query *query, uint8_t *msg, size_t len)
{
    struct dns_proxy *proxy = ctx;
    if (query->purpose == QUERY_LOOKUP)
        return lookups_answered(proxy->lookups, query, msg, len);
    if (query->purpose != QUERY_CLIENT) {
        end_probe(proxy, query, msg, len);
        return true;
    }
    if (proxy->n_staged == STAGED_MAX ||
        proxy->n_addresses + dns_found_max(len) > sizeof(proxy->addresses) / sizeof(proxy->addresses[0]))
        proxy_commit(proxy);
    struct staged *staged = &proxy->staged[proxy->n_staged];
    *staged = (struct staged){.query = query, .msg = msg, .len = len, .first = proxy->n_addresses};
    question_of(query, &staged->question);
    if (query->generation != proxy->generation && !proxy->audit) {
        struct decision decision = policy_decide(&proxy->layers, staged->question.name, staged->question.name_len);
        if (decision.action == ACTION_DENY) {
            deny_late(proxy, staged, &decision);
            return true;
        }
    }
    int error = stage_addresses(proxy, staged);
    if (error == -EBADMSG)
        return false;
    if (LDNS_RCODE_WIRE(msg) != LDNS_RCODE_NXDOMAIN) /* what does not exist need not be allowed */
        note_name(proxy, query, &staged->question);
    struct query *others = sharing_split(&proxy->sharing, query, LDNS_TC_WIRE(staged->msg));
    if (!error) {
        proxy_keep(proxy, staged);
        proxy->n_staged++;
    } else {
        answer_nothing(proxy, staged);
    }
    if (others)
        forwarder_send(proxy->forwarder, others);
    return true;
}
