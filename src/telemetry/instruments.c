#include "telemetry/instruments.h"

#define POINTS(list) .points = (list), .n_points = sizeof(list) / sizeof((list)[0])

#define DNS_RESULT(result, text)                                                                                       \
    {METRIC_DNS_QUERIES + (result)*DNS_TRANSPORTS + DNS_UDP, {{"result", text}, {"proto", "udp"}}},                    \
    {                                                                                                                  \
        METRIC_DNS_QUERIES + (result)*DNS_TRANSPORTS + DNS_TCP,                                                        \
        {                                                                                                              \
            {"result", text},                                                                                          \
            {                                                                                                          \
                "proto", "tcp"                                                                                         \
            }                                                                                                          \
        }                                                                                                              \
    }

static const struct instrument_point dns_queries[] = {
    DNS_RESULT(DNS_ALLOWED, "allowed"), DNS_RESULT(DNS_DENIED, "denied"),       DNS_RESULT(DNS_FAILED, "failed"),
    DNS_RESULT(DNS_REFUSED, "refused"), DNS_RESULT(DNS_MALFORMED, "malformed"),
};
static const struct instrument_point dns_cache_hits[] = {
    {METRIC_DNS_CACHE_HITS + DNS_UDP, {{"proto", "udp"}}},
    {METRIC_DNS_CACHE_HITS + DNS_TCP, {{"proto", "tcp"}}},
};
static const struct instrument_point dns_in_flight[] = {{METRIC_DNS_IN_FLIGHT}};
static const struct instrument_point dns_limited[] = {
    {METRIC_DNS_LIMITED_CONNECTIONS, {{"limit", "connections"}}},
    {METRIC_DNS_LIMITED_PIPELINED, {{"limit", "pipelined"}}},
    {METRIC_DNS_LIMITED_UNSENT, {{"limit", "unsent"}}},
    {METRIC_DNS_LIMITED_IN_FLIGHT, {{"limit", "inflight"}}},
    {METRIC_DNS_LIMITED_SHARE, {{"limit", "share"}}},
    {METRIC_DNS_LIMITED_NAMES, {{"limit", "names"}}},
};
static const struct instrument_point dns_suspect[] = {
    {METRIC_DNS_SUSPECT_FLOOD, {{"reason", "flood"}}},
    {METRIC_DNS_SUSPECT_FORGED, {{"reason", "forged"}}},
};
static const struct instrument_point upstreams_healthy[] = {{METRIC_UPSTREAMS_HEALTHY}};
static const struct instrument_point policy_denied[] = {{METRIC_POLICY_DENIED}};
static const struct instrument_point policy_revision[] = {{METRIC_POLICY_REVISION}};
static const struct instrument_point reload_errors[] = {{METRIC_ALWAYS_RELOAD_ERRORS}};
static const struct instrument_point nft_rules[] = {{METRIC_NFT_RULES}};
static const struct instrument_point nft_updates[] = {{METRIC_NFT_UPDATES}};
static const struct instrument_point nft_errors[] = {{METRIC_NFT_ERRORS}};
static const struct instrument_point nft_repairs[] = {{METRIC_NFT_REPAIRS}};
static const struct instrument_point enforcement[] = {{METRIC_ENFORCEMENT_ACTIVE}};
static const struct instrument_point addresses[] = {
    {METRIC_ADDRESSES_V4, {{"family", "ipv4"}}},
    {METRIC_ADDRESSES_V6, {{"family", "ipv6"}}},
};
static const struct instrument_point addresses_evicted[] = {{METRIC_ADDRESSES_EVICTED}};
static const struct instrument_point peers[] = {
    {METRIC_PEERS_ALLOWED, {{"result", "allowed"}}},
    {METRIC_PEERS_DENIED, {{"result", "denied"}}},
};
static const struct instrument_point peers_suppressed[] = {{METRIC_PEERS_SUPPRESSED}};
static const struct instrument_point api_limited[] = {{METRIC_API_LIMITED}};
static const struct instrument_point api_denied[] = {
    {METRIC_API_DENIED + API_DENIED_TOKEN, {{"reason", "token"}}},
    {METRIC_API_DENIED + API_DENIED_THROTTLED, {{"reason", "throttled"}}},
    {METRIC_API_DENIED + API_DENIED_ORIGIN, {{"reason", "origin"}}},
    {METRIC_API_DENIED + API_DENIED_HOST, {{"reason", "host"}}},
    {METRIC_API_DENIED + API_DENIED_CERTIFICATE, {{"reason", "certificate"}}},
};
static const struct instrument_point webhook_sent[] = {{METRIC_WEBHOOK_SENT}};
static const struct instrument_point webhook_failed[] = {{METRIC_WEBHOOK_FAILED}};
static const struct instrument_point webhook_dropped[] = {{METRIC_WEBHOOK_DROPPED_QUEUE}};
static const struct instrument_point log_dropped[] = {{OBSERVED_LOG_DROPPED}};
static const struct instrument_point system_memory[] = {{OBSERVED_SYSTEM_MEMORY}};
static const struct instrument_point system_cpu[] = {{OBSERVED_SYSTEM_CPU}};
static const struct instrument_point process_memory[] = {{OBSERVED_PROCESS_MEMORY}};
static const struct instrument_point process_cpu[] = {
    {OBSERVED_CPU_USER, {{"cpu.mode", "user"}}},
    {OBSERVED_CPU_SYSTEM, {{"cpu.mode", "system"}}},
};

#define EXPORTED(cell)                                                                                                 \
    {(cell) + EXPORT_DONE}, {(cell) + EXPORT_REJECTED, {{"error.type", "rejected"}}},                                  \
        {(cell) + EXPORT_REFUSED, {{"error.type", "refused"}}},                                                        \
        {(cell) + EXPORT_TIMEOUT, {{"error.type", "timeout"}}},                                                        \
    {                                                                                                                  \
        (cell) + EXPORT_CONNECTION,                                                                                    \
        {                                                                                                              \
            {                                                                                                          \
                "error.type", "connection"                                                                             \
            }                                                                                                          \
        }                                                                                                              \
    }

static const struct instrument_point exported_points[] = {EXPORTED(METRIC_EXPORTED_POINTS)};
static const struct instrument_point exported_logs[] = {EXPORTED(METRIC_EXPORTED_LOGS)};
static const struct instrument_point logs_processed[] = {
    {METRIC_LOGS_PROCESSED},
    {METRIC_LOGS_QUEUE_FULL, {{"error.type", "queue_full"}}},
};
static const struct instrument_point logs_queued[] = {{METRIC_LOGS_QUEUED}};

/* Without a pipeline these are no news. With one they are there as soon as it has something to do, zeros too: a counter
 * that appears with its first loss does not increase then, and a queue that empties must be seen to. */
#define USED_POINTS .used_from = METRIC_EXPORTED_POINTS, .used_end = METRIC_EXPORTED_POINTS + EXPORT_RESULTS
#define USED_LOGS .used_from = METRIC_EXPORTED_LOGS, .used_end = METRIC_LOGS_QUEUED + 1

const struct instrument instruments[] = {
    {"egress.dns.query.duration", "Time from a forwarded DNS query to its answer or its failure", "s",
     INSTRUMENT_HISTOGRAM, SOURCE_DNS_DURATION},
    {"egress.dns.queries", "DNS queries of clients by what became of them", "{query}", INSTRUMENT_COUNTER, SOURCE_CELLS,
     POINTS(dns_queries)},
    {"egress.dns.cache.hits", "DNS queries answered from the cache", "{query}", INSTRUMENT_COUNTER, SOURCE_CELLS,
     POINTS(dns_cache_hits)},
    {"egress.dns.inflight", "DNS queries that wait for an upstream", "{query}", INSTRUMENT_UP_DOWN_COUNTER,
     SOURCE_CELLS, POINTS(dns_in_flight)},
    {"egress.dns.limited", "TCP connections, queries and datagrams that a limit took away or held up", "{drop}",
     INSTRUMENT_COUNTER, SOURCE_CELLS, POINTS(dns_limited)},
    {"egress.dns.upstreams.healthy", "Upstream resolvers that answered their latest probe", "{upstream}",
     INSTRUMENT_GAUGE, SOURCE_CELLS, POINTS(upstreams_healthy)},
    {"egress.dns.suspect", "Signs of forged answers from upstream resolvers", "{event}", INSTRUMENT_COUNTER,
     SOURCE_CELLS, POINTS(dns_suspect)},
    {"egress.policy.denied_total", "DNS queries denied by policy", "{query}", INSTRUMENT_COUNTER, SOURCE_CELLS,
     POINTS(policy_denied)},
    {"egress.policy.revision", "Policies put in force since start, the first one included", "{revision}",
     INSTRUMENT_GAUGE, SOURCE_CELLS, POINTS(policy_revision)},
    {"egress.policy.reload_errors", "Versions of the always files that could not be put in force", "{error}",
     INSTRUMENT_COUNTER, SOURCE_CELLS, POINTS(reload_errors)},
    {"egress.enforcement.active", "Whether policy is enforced: 1, or 0 while the kernel's table is not in place", "",
     INSTRUMENT_GAUGE, SOURCE_CELLS, POINTS(enforcement)},
    {"egress.nftables.rules.count", "Rules and static set elements in force", "{element}", INSTRUMENT_GAUGE,
     SOURCE_CELLS, POINTS(nft_rules)},
    {"egress.nftables.updates.count", "Transactions that the kernel took", "{update}", INSTRUMENT_COUNTER, SOURCE_CELLS,
     POINTS(nft_updates)},
    {"egress.nftables.errors", "Transactions that the kernel refused", "{error}", INSTRUMENT_COUNTER, SOURCE_CELLS,
     POINTS(nft_errors)},
    {"egress.nftables.repairs", "Times the table was put in place anew because somebody had changed it", "{repair}",
     INSTRUMENT_COUNTER, SOURCE_CELLS, POINTS(nft_repairs)},
    {"egress.dynamic.addresses", "Addresses that names led to and that are reachable now", "{address}",
     INSTRUMENT_GAUGE, SOURCE_CELLS, POINTS(addresses)},
    {"egress.dynamic.evicted", "Learned addresses that made room for others", "{address}", INSTRUMENT_COUNTER,
     SOURCE_CELLS, POINTS(addresses_evicted)},
    {"egress.peer.connections", "Direct connections to addresses that no name led to", "{connection}",
     INSTRUMENT_COUNTER, SOURCE_CELLS, POINTS(peers)},
    {"egress.peer.suppressed", "Direct connections that the rate limit kept out of the log", "{connection}",
     INSTRUMENT_COUNTER, SOURCE_CELLS, POINTS(peers_suppressed)},
    {"egress.api.request.count", "Requests to the HTTP API", "{request}", INSTRUMENT_COUNTER, SOURCE_REQUESTS},
    {"egress.api.request.duration", "Time that requests to the HTTP API took", "s", INSTRUMENT_HISTOGRAM,
     SOURCE_REQUEST_DURATIONS},
    {"egress.api.connections.limited", "Connections to the HTTP API closed because there were too many", "{connection}",
     INSTRUMENT_COUNTER, SOURCE_CELLS, POINTS(api_limited)},
    {"egress.api.denied", "Requests to the HTTP API that were refused for who asked or whence", "{request}",
     INSTRUMENT_COUNTER, SOURCE_CELLS, POINTS(api_denied)},
    {"egress.webhook.sent", "Denials that the webhook was told of", "{denial}", INSTRUMENT_COUNTER, SOURCE_CELLS,
     POINTS(webhook_sent)},
    {"egress.webhook.failed", "Denials that the webhook could not be told of", "{denial}", INSTRUMENT_COUNTER,
     SOURCE_CELLS, POINTS(webhook_failed)},
    {"egress.webhook.dropped", "Denials that found the webhook's queue full", "{denial}", INSTRUMENT_COUNTER,
     SOURCE_CELLS, POINTS(webhook_dropped)},
    {"egress.log.dropped", "Log records that were lost", "{record}", INSTRUMENT_OBSERVABLE_COUNTER, SOURCE_OBSERVED,
     POINTS(log_dropped)},
    {"egress.system.memory.usage_bytes", "Memory in use on the host", "By", INSTRUMENT_GAUGE, SOURCE_OBSERVED,
     POINTS(system_memory)},
    {"egress.system.cpu.utilization", "Part of the host's CPU time that was not idle since the previous collection",
     "1", INSTRUMENT_GAUGE, SOURCE_OBSERVED, POINTS(system_cpu), .fraction = true},
    {"egress.process.memory.usage_bytes", "Memory of this process that is resident", "By", INSTRUMENT_GAUGE,
     SOURCE_OBSERVED, POINTS(process_memory)},
    {"egress.process.cpu.time", "CPU time of this process", "s", INSTRUMENT_OBSERVABLE_COUNTER, SOURCE_OBSERVED,
     POINTS(process_cpu), .fraction = true},
    {"otel.sdk.exporter.metric_data_point.exported", "Data points by what became of their export", "{data_point}",
     INSTRUMENT_COUNTER, SOURCE_CELLS, POINTS(exported_points), USED_POINTS},
    {"otel.sdk.exporter.log.exported", "Log records by what became of their export", "{log_record}", INSTRUMENT_COUNTER,
     SOURCE_CELLS, POINTS(exported_logs), USED_LOGS},
    {"otel.sdk.processor.log.processed", "Log records that left the export queue or did not get into it",
     "{log_record}", INSTRUMENT_COUNTER, SOURCE_CELLS, POINTS(logs_processed), USED_LOGS},
    {"otel.sdk.processor.log.queue.size", "Log records in the export queue", "{log_record}", INSTRUMENT_UP_DOWN_COUNTER,
     SOURCE_CELLS, POINTS(logs_queued), USED_LOGS},
};

const size_t n_instruments = sizeof(instruments) / sizeof(instruments[0]);
