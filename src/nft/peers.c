#include "nft/peers.h"

#include "base/cleanup.h"
#include "base/ip_ranges.h"
#include "nft/counter.h"
#include "nft/nflog.h"
#include "nft/packet.h"
#include "nft/peer_chains.h"
#include "nft/ports.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define MESSAGES_PER_TURN 64
#define REPORT_NS (60 * NS_PER_S)

/* The messages of a group. */
struct stream {
    bool any;
    uint32_t next; /* number */
};

struct peers {
    struct loop *loop;
    struct loop_source source;
    const struct nft_settings *settings;
    struct peers_hooks hooks;
    struct log *log;
    struct conn *conn; /* for the counters */
    struct stream allowed, denied;
    uint64_t counted[PEER_COUNTERS]; /* the kernel's counters, when they were read last */
    uint64_t unreported, report_ns;
};

static const char *transport_name(uint8_t protocol, char room[4])
{
    switch (protocol) {
    case IPPROTO_TCP:
        return "tcp";
    case IPPROTO_UDP:
        return "udp";
    case IPPROTO_ICMP:
        return "icmp";
    case IPPROTO_ICMPV6:
        return "icmpv6";
    case IPPROTO_SCTP:
        return "sctp";
    default: /* names would have to be looked up in a file */
        snprintf(room, 4, "%u", protocol);
        return room;
    }
}

/* Which of the rules for ports refuses it, before any policy; NULL: none. In the order of chains.c. */
static const char *refused_by_port(const struct peers *peers, const struct peer *peer)
{
    const struct nft_settings *settings = peers->settings;
    const struct ip_ranges *doh = &settings->doh_blocklist;
    bool tcp_or_udp = peer->protocol == IPPROTO_TCP || peer->protocol == IPPROTO_UDP;
    if (tcp_or_udp && peer->port == PORT_DNS)
        return "dns";
    if (tcp_or_udp && peer->port == PORT_DOT)
        return "dot";
    if (tcp_or_udp && peer->port == PORT_HTTPS && settings->block_doh_443 &&
        ((!doh->n_v4 && !doh->n_v6) || ip_ranges_refuse(doh, &peer->addr)))
        return "doh";
    return NULL;
}

static void report(struct peers *peers, const struct peer *peer, bool denied)
{
    if (!(denied ? log_begin(peers->log, LOG_INFO, LOG_DENIED, "egress denied")
                 : log_begin(peers->log, LOG_INFO, LOG_OUTBOUND, "egress outbound")))
        return;
    char text[IP_TEXT_MAX], room[4];
    ip_format(&peer->addr, text);
    log_str(peers->log, "peer", text, strlen(text));
    if (peer->port)
        log_int(peers->log, "network.peer.port", peer->port);
    const char *transport = transport_name(peer->protocol, room);
    log_str(peers->log, "network.transport", transport, strlen(transport));
    if (denied) {
        const char *rule = refused_by_port(peers, peer);
        if (!rule)
            rule = peers->hooks.refused_by(peers->hooks.ctx, &peer->addr);
        log_str(peers->log, "rule", rule, strlen(rule));
        if (peers->settings->audit)
            log_bool(peers->log, "audit", true);
    }
    log_end(peers->log);
}

static void take_packet(void *ctx, const struct nflog_packet *packet)
{
    struct peers *peers = ctx;
    bool is_denied = packet->group == PEER_GROUP_DENIED;
    struct stream *stream = is_denied ? &peers->denied : &peers->allowed;
    uint32_t lost = stream->any ? packet->number - stream->next : 0;
    *stream = (struct stream){.any = true, .next = packet->number + 1};
    metric_add(peers->settings->metrics, METRIC_PEERS_SUPPRESSED, lost);
    peers->unreported += lost;
    struct peer peer;
    if (!peer_from_packet(packet->payload, packet->len, &peer))
        return;
    report(peers, &peer, is_denied);
    if (peers->hooks.seen && !refused_by_port(peers, &peer))
        peers->hooks.seen(peers->hooks.ctx, &peer.addr);
}

static void ready(struct loop_source *source, uint32_t events)
{
    for (int i = 0; i < MESSAGES_PER_TURN && nflog_receive(source->fd, take_packet, source->owner); i++)
        ;
}

static int listen_to_both(struct peers *peers, struct why *why)
{
    int error = nflog_open(&peers->source.fd, why);
    if (!error)
        error = nflog_join(peers->source.fd, PEER_GROUP_ALLOWED, why);
    if (!error)
        error = nflog_join(peers->source.fd, PEER_GROUP_DENIED, why);
    return error;
}

DEFINE_CLEANUP(struct peers, peers_cleanup, peers_free);

int peers_new(struct loop *loop, const struct nft_settings *settings, const struct peers_hooks *hooks, struct log *log,
              struct peers **ret, struct why *why)
{
    _cleanup_(peers_cleanup) struct peers *peers = calloc(1, sizeof(*peers));
    if (!peers)
        return why_set(why, -ENOMEM, "out of memory");
    *peers = (struct peers){
        .source = {.fd = -1, .ready = ready, .owner = peers}, .settings = settings, .hooks = *hooks, .log = log};
    int error = conn_open(&peers->conn, why);
    if (!error)
        error = listen_to_both(peers, why);
    if (error)
        return error;
    error = loop_add(loop, &peers->source, EPOLLIN);
    if (error)
        return why_set(why, error, "epoll: %s", strerror(-error));
    peers->loop = loop;
    *ret = take_pointer(peers);
    return 0;
}

void peers_free(struct peers *peers)
{
    if (!peers)
        return;
    if (peers->loop)
        loop_remove(peers->loop, &peers->source);
    cleanup_close(&peers->source.fd);
    conn_free(peers->conn);
    free(peers);
}

/* What a counter counted since the last time; it begins anew with a new table. */
static uint64_t take_difference(uint64_t *counted, uint64_t now)
{
    uint64_t more = now >= *counted ? now - *counted : now;
    *counted = now;
    return more;
}

void peers_count(struct peers *peers)
{
    static const enum metric metrics[PEER_COUNTERS] = {METRIC_PEERS_ALLOWED, METRIC_PEERS_DENIED,
                                                       METRIC_PEERS_SUPPRESSED};
    uint64_t now_ns = loop_now(peers->loop), packets[PEER_COUNTERS], more = 0;
    if (counters_read(peers->conn, peer_counters, PEER_COUNTERS, packets))
        return; /* somebody took the table away; the next is counted from 0 */
    for (size_t i = 0; i < PEER_COUNTERS; i++) {
        more = take_difference(&peers->counted[i], packets[i]);
        metric_add(peers->settings->metrics, metrics[i], more);
    }
    peers->unreported += more; /* the last of them are those suppressed */
    if (!peers->unreported || now_ns < peers->report_ns)
        return;
    log_printf(peers->log, LOG_WARN,
               "%llu direct connections are not in the log: of each kind, allowed and refused, it takes %d a second",
               (unsigned long long)peers->unreported, PEER_LOG_PER_S);
    peers->unreported = 0;
    peers->report_ns = now_ns + REPORT_NS;
}
