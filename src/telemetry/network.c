#include "telemetry/network.h"

#include "base/cleanup.h"
#include "telemetry/http.h"
#include "telemetry/pipelines.h"
#include "telemetry/webhook.h"

#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <string.h>

#define FLUSH_LOOK_MS 20u /* records that were under way to the queue take no longer */

struct network {
    struct network_settings settings;
    struct http *http;
    struct webhook *webhook;     /* NULL: none */
    struct pipelines *pipelines; /* NULL: nothing is exported */
    unsigned due_ms;             /* when the next step is wanted, whatever comes */
    unsigned flush_ms;           /* set before `flush` */
    atomic_bool flush;
    uint64_t flush_end_ns;
    bool flushed;
};

void network_free(struct network *network)
{
    if (!network)
        return;
    webhook_free(network->webhook);
    pipelines_free(network->pipelines);
    http_free(network->http);
    free(network);
}

DEFINE_CLEANUP(struct network, cleanup_network, network_free);

/* Whether anything goes anywhere. */
static bool has_endpoint(const struct network_settings *settings)
{
    return settings->webhook || (settings->otel && (settings->otel->metrics.url || settings->otel->logs.url));
}

int network_new(const struct network_settings *settings, int wake_fd, struct log *log, struct network **ret,
                struct why *why)
{
    _cleanup_(cleanup_network) struct network *network = calloc(1, sizeof(*network));
    if (!network)
        return why_set(why, -ENOMEM, "network: out of memory");
    network->settings = *settings;
    network->due_ms = UINT_MAX;
    struct http_settings http = {.own = settings->own, .names = settings->names, .wake_fd = wake_fd};
    int error = http_new(&http, &network->http);
    if (!error && has_endpoint(settings) && (error = http_load(network->http, why)))
        return error;
    struct webhook_settings webhook = {.url = settings->webhook,
                                       .sandbox_id = settings->sandbox_id,
                                       .http = network->http,
                                       .log = log,
                                       .metrics = settings->metrics};
    if (!error && settings->webhook)
        error = webhook_new(&webhook, &network->webhook);
    struct pipelines_settings pipelines = {.env = settings->otel,
                                           .resource = settings->resource,
                                           .attributes = settings->attributes,
                                           .n_attributes = settings->n_attributes,
                                           .meter = settings->meter,
                                           .metrics = settings->metrics,
                                           .log = log,
                                           .http = network->http};
    if (!error && settings->otel)
        error = pipelines_new(&pipelines, &network->pipelines);
    if (error)
        return why_set(why, error, "network: %s", strerror(-error));
    *ret = take_pointer(network);
    return 0;
}

static unsigned least(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

/* At the end: is everything out, or the time over? */
static void flush_step(struct network *network)
{
    uint64_t now_ns = clock_monotonic_ns();
    if (!network->flush_end_ns)
        network->flush_end_ns = now_ns + network->flush_ms * NS_PER_MS;
    bool sent = pipelines_flushed(network->pipelines, network->flush_end_ns);
    if (now_ns < network->flush_end_ns && (!sent || (network->webhook && !webhook_idle(network->webhook)))) {
        unsigned left_ms = (unsigned)((network->flush_end_ns - now_ns) / NS_PER_MS) + 1;
        network->due_ms = least(network->due_ms, least(left_ms, FLUSH_LOOK_MS));
        return;
    }
    if (network->webhook)
        webhook_give_up(network->webhook);
    network->flushed = true;
    network->due_ms = UINT_MAX;
    network->settings.flushed(network->settings.flushed_ctx);
}

void network_step(struct network *network)
{
    http_step(network->http);
    if (network->flushed)
        return;
    unsigned webhook_ms = network->webhook ? webhook_step(network->webhook) : UINT_MAX;
    network->due_ms = least(webhook_ms, pipelines_step(network->pipelines));
    if (atomic_load_explicit(&network->flush, memory_order_acquire))
        flush_step(network);
}

void network_wait(struct network *network, unsigned timeout_ms)
{
    http_wait(network->http, timeout_ms < network->due_ms ? timeout_ms : network->due_ms);
}

void network_set_bell(struct network *network, int event_fd)
{
    if (network->webhook)
        webhook_set_bell(network->webhook, event_fd);
}

void network_record(struct network *network, const struct log_record *record)
{
    pipelines_record(network->pipelines, record);
}

void network_denied(struct network *network, const uint8_t *name, size_t len)
{
    if (network->webhook)
        webhook_denied(network->webhook, name, len);
}

bool network_flush(struct network *network, unsigned timeout_ms)
{
    if (!network->webhook && !pipelines_send(network->pipelines))
        return false;
    network->flush_ms = timeout_ms;
    atomic_store_explicit(&network->flush, true, memory_order_release);
    return true;
}
