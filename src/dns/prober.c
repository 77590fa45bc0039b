#include "dns/prober.h"

#include "base/wire.h"
#include "policy/name.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PATIENCE_NS (2 * NS_PER_S)

struct prober {
    struct loop *loop;
    struct forwarder *forwarder;
    struct log *log;
    struct loop_timer timer;
    uint64_t interval_ns, patience_ns;
    size_t busy;
    uint8_t query[DNS_HEADER_SIZE + DNS_NAME_MAX + 4];
    size_t query_len;
};

static void write_query(struct prober *prober, const char *name)
{
    size_t name_len = 0;
    uint8_t *at = prober->query + DNS_HEADER_SIZE;
    struct why why;
    if (name_from_text(name, at, &name_len, &why)) {
        log_printf(prober->log, LOG_WARN, "OPENSANDBOX_EGRESS_DNS_UPSTREAM_PROBE: %s; using the root", why.text);
        at[0] = 0;
        name_len = 1;
    }
    LDNS_RD_SET(prober->query);
    wire_store16(prober->query + 4, 1); /* questions */
    wire_store16(at + name_len, name_len == 1 ? LDNS_RR_TYPE_NS : LDNS_RR_TYPE_A);
    wire_store16(at + name_len + 2, LDNS_RR_CLASS_IN);
    prober->query_len = DNS_HEADER_SIZE + name_len + 4;
}

static void probe(struct prober *prober, size_t upstream)
{
    struct query *query = forwarder_take(prober->forwarder, prober->query, prober->query_len);
    if (!query) /* clients have taken all the room: they find out for themselves */
        return;
    query->purpose = QUERY_HEALTH_PROBE;
    query->question_end = (uint16_t)prober->query_len;
    query->edns = (struct dns_edns){0};
    prober->busy++;
    forwarder_send_to(prober->forwarder, query, upstream, prober->patience_ns);
}

static void start_interval(struct prober *prober)
{
    loop_timer_set(prober->loop, &prober->timer, loop_now(prober->loop) + prober->interval_ns);
}

static void probe_all(struct loop_timer *timer)
{
    struct prober *prober = timer->owner;
    for (size_t i = 0; i < forwarder_upstreams(prober->forwarder); i++)
        if (!forwarder_upstream(prober->forwarder, i)->dropped)
            probe(prober, i);
    forwarder_flush(prober->forwarder);
    start_interval(prober);
}

int prober_new(struct loop *loop, struct forwarder *forwarder, struct log *log, const char *name, unsigned interval_s,
               struct prober **ret)
{
    struct prober *prober = calloc(1, sizeof(*prober));
    if (!prober)
        return -ENOMEM;
    prober->loop = loop;
    prober->forwarder = forwarder;
    prober->log = log;
    prober->timer = (struct loop_timer){.fire = probe_all, .owner = prober};
    prober->interval_ns = interval_s * NS_PER_S;
    /* A probe is over before the next one leaves. */
    uint64_t most = prober->interval_ns * 9 / 10;
    prober->patience_ns = most < PATIENCE_NS ? most : PATIENCE_NS;
    write_query(prober, name);
    *ret = prober;
    return 0;
}

void prober_free(struct prober *prober)
{
    if (!prober)
        return;
    prober_stop(prober);
    free(prober);
}

void prober_start(struct prober *prober)
{
    start_interval(prober);
}

void prober_probe(struct prober *prober, size_t upstream)
{
    if (prober->timer.heap_at)
        probe(prober, upstream);
}

void prober_stop(struct prober *prober)
{
    loop_timer_cancel(prober->loop, &prober->timer);
}

void prober_ended(struct prober *prober, const struct query *query, const char *error)
{
    char text[SOCK_ADDR_TEXT_MAX];
    prober->busy--;
    if (!forwarder_probed(prober->forwarder, query->upstream, !error))
        return;
    sock_addr_format(&forwarder_upstream(prober->forwarder, query->upstream)->addr, text);
    if (error)
        log_printf(prober->log, LOG_WARN, "upstream %s failed its probe (%s) and is skipped while others do not", text,
                   error);
    else
        log_printf(prober->log, LOG_INFO, "upstream %s answers its probe again", text);
}

size_t prober_busy(const struct prober *prober)
{
    return prober->busy;
}
