/* What the process counts about itself: cells and histograms that one thread writes and every thread may read.
 *
 * Recording takes no lock and no atomic read-modify-write, since each cell has one writer: the thread that its group
 * below names. Readers (telemetry, the API) see each cell whole, at some moment of the recent past. What the
 * cells are called outside, with which unit and attributes, is telemetry's business (docs/telemetry.md).
 * All zero bytes are a fresh one. */
#ifndef BASE_METRICS_H
#define BASE_METRICS_H

#include "base/request_streams.h"

enum dns_result { DNS_ALLOWED, DNS_DENIED, DNS_FAILED, DNS_REFUSED, DNS_MALFORMED, DNS_RESULTS };
enum dns_transport { DNS_UDP, DNS_TCP, DNS_TRANSPORTS };
/* Why the API refuses whoever asks. */
enum api_denial {
    API_DENIED_TOKEN,
    API_DENIED_THROTTLED,
    API_DENIED_ORIGIN,
    API_DENIED_HOST,
    API_DENIED_CERTIFICATE,
    API_DENIALS
};
/* What became of data points and log records that were to be exported. */
enum export_result {
    EXPORT_DONE,
    EXPORT_REJECTED,   /* the collector took the request and left these out */
    EXPORT_REFUSED,    /* it answered with an error that repeating does not mend */
    EXPORT_TIMEOUT,    /* no answer, or only errors that may pass, until the time was over */
    EXPORT_CONNECTION, /* it could not be reached */
    EXPORT_RESULTS
};

/* A counter unless said otherwise. */
enum metric {
    /* --- the loop --- */
    METRIC_DNS_QUERIES, /* one per result and transport: metric_dns_queries() */
    METRIC_DNS_CACHE_HITS = METRIC_DNS_QUERIES + DNS_RESULTS * DNS_TRANSPORTS, /* of the allowed, one per transport */
    METRIC_POLICY_DENIED = METRIC_DNS_CACHE_HITS + DNS_TRANSPORTS,
    METRIC_DNS_IN_FLIGHT,           /* gauge */
    METRIC_DNS_LIMITED_CONNECTIONS, /* TCP connections closed because there were too many */
    METRIC_DNS_LIMITED_PIPELINED,   /* times that one of them was not read from: too many queries under way */
    METRIC_DNS_LIMITED_UNSENT,      /* TCP connections closed because replies that they do not take found no room */
    METRIC_DNS_LIMITED_IN_FLIGHT,   /* queries that made room for others */
    METRIC_DNS_LIMITED_SHARE,       /* datagrams left unanswered because their source had sent more than its share */
    METRIC_DNS_LIMITED_NAMES,       /* queries for one name too many below a rule */
    METRIC_DNS_SUSPECT_FLOOD,       /* ports on which more answers came than questions had left */
    METRIC_DNS_SUSPECT_FORGED,      /* answers that only the case of their letters gave away */
    METRIC_UPSTREAMS_HEALTHY,       /* gauge */
    METRIC_NFT_UPDATES,             /* transactions that the kernel took */
    METRIC_NFT_ERRORS,              /* transactions that it did not take */
    METRIC_NFT_REPAIRS,             /* the table put in place anew because somebody had changed it */
    METRIC_NFT_RULES,               /* gauge: rules and static set elements in force, 0 in dns mode */
    METRIC_ADDRESSES_V4,            /* gauge: learned addresses */
    METRIC_ADDRESSES_V6,            /* gauge */
    METRIC_ADDRESSES_EVICTED,       /* learned addresses that made room for others */
    METRIC_ENFORCEMENT_ACTIVE,      /* gauge: 0 or 1 */
    METRIC_POLICY_REVISION,         /* gauge: accepted changes since start, and 1 for the first policy */
    METRIC_ALWAYS_RELOAD_ERRORS,    /* always files that could not be put in force */
    METRIC_PEERS_ALLOWED,           /* direct connections to addresses that no name led to */
    METRIC_PEERS_DENIED,
    METRIC_PEERS_SUPPRESSED,      /* of both, those that the rate limit kept out of the log */
    METRIC_WEBHOOK_DROPPED_QUEUE, /* denials that found the webhook's queue full */
    METRIC_LOOP_END,
    /* --- the API: counts by route are in its own table --- */
    METRIC_API_BEGIN = METRIC_LOOP_END + 8, /* not in the cache line of another thread */
    METRIC_API_LIMITED = METRIC_API_BEGIN,  /* connections closed because there were too many */
    METRIC_API_DENIED,                      /* requests, one per reason: metric_api_denied() */
    METRIC_API_END = METRIC_API_DENIED + API_DENIALS,
    /* --- the export thread --- */
    METRIC_EXPORT_BEGIN = METRIC_API_END + 8,
    METRIC_WEBHOOK_SENT = METRIC_EXPORT_BEGIN,
    METRIC_WEBHOOK_FAILED,
    METRIC_LOG_DROPPED,     /* lines lost by the export thread; records that found a queue full are in log_dropped() */
    METRIC_EXPORTED_POINTS, /* data points, one per result: metric_exported_points() */
    METRIC_EXPORTED_LOGS = METRIC_EXPORTED_POINTS + EXPORT_RESULTS, /* likewise */
    METRIC_LOGS_PROCESSED = METRIC_EXPORTED_LOGS + EXPORT_RESULTS,  /* log records that left the queue for export */
    METRIC_LOGS_QUEUE_FULL,                                         /* … that did not get into it */
    METRIC_LOGS_QUEUED,                                             /* gauge: records in it */
    METRICS,
};

struct metrics {
    _Atomic uint64_t cells[METRICS];
    struct histogram dns_query_duration; /* the loop's: forwarded queries, answered or failed */
    struct request_streams api_requests; /* the API's */
};

static inline void metric_set(struct metrics *metrics, enum metric metric, uint64_t value)
{
    atomic_store_explicit(&metrics->cells[metric], value, memory_order_relaxed);
}

static inline uint64_t metric_get(const struct metrics *metrics, enum metric metric)
{
    return atomic_load_explicit(&metrics->cells[metric], memory_order_relaxed);
}

static inline void metric_add(struct metrics *metrics, enum metric metric, uint64_t n)
{
    metric_set(metrics, metric, metric_get(metrics, metric) + n);
}

static inline enum metric metric_dns_queries(enum dns_result result, enum dns_transport transport)
{
    return (enum metric)(METRIC_DNS_QUERIES + result * DNS_TRANSPORTS + transport);
}

static inline enum metric metric_api_denied(enum api_denial why)
{
    return (enum metric)(METRIC_API_DENIED + why);
}

static inline enum metric metric_exported_points(enum export_result result)
{
    return (enum metric)(METRIC_EXPORTED_POINTS + result);
}

static inline enum metric metric_exported_logs(enum export_result result)
{
    return (enum metric)(METRIC_EXPORTED_LOGS + result);
}

#endif
