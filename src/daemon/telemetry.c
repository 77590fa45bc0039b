#include "base/url.h"
#include "confine.h"
#include "daemon/state.h"
#include "telemetry/host.h"
#include "version.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void daemon_render_metrics(void *ctx, bool openmetrics, struct buf *out)
{
    struct daemon *daemon = ctx;
    prometheus_scrape(daemon->prometheus, clock_realtime_ns(), openmetrics ? PROMETHEUS_OPENMETRICS : PROMETHEUS_TEXT,
                      out);
}

static enum daemon_exit prepare_network(struct daemon *daemon, struct why *why)
{
    int error = own_mark_draw(&daemon->own);
    if (error)
        return daemon_failed(EXIT_UNAVAILABLE, why, error, "no random numbers");
    if (otel_env_read(OTEL_HOSTINFO, &daemon->otel))
        return daemon_failed(EXIT_UNAVAILABLE, why, -ENOMEM, "cannot start");
    const char *const endpoints[] = {daemon->config->webhook, daemon->otel->metrics.url, daemon->otel->logs.url};
    for (size_t i = 0; i < 3; i++) {
        struct url url;
        if (endpoints[i] && !url_parse(endpoints[i], &url))
            daemon->own_ports[daemon->n_own_ports++] = url.port;
    }
    return EXIT_OK;
}

static int make_attributes(struct daemon *daemon)
{
    const struct config *config = daemon->config;
    daemon->attributes = calloc(config->n_extra_attrs + 1, sizeof(*daemon->attributes));
    if (!daemon->attributes)
        return -ENOMEM;
    if (config->sandbox_id)
        daemon->attributes[daemon->n_attributes++] = (struct attribute){"sandbox_id", config->sandbox_id};
    for (size_t i = 0; i < config->n_extra_attrs; i++)
        daemon->attributes[daemon->n_attributes++] =
            (struct attribute){config->extra_attrs[i].key, config->extra_attrs[i].value};
    return 0;
}

static enum daemon_exit start_metrics(struct daemon *daemon, struct why *why)
{
    struct meter_settings meter = {.metrics = &daemon->metrics, .logs = daemon->logs, .n_logs = 2, .proc = HOST_PROC};
    struct resource_settings resource = {.version = EGRESS_VERSION,
                                         .sandbox_id = daemon->config->sandbox_id,
                                         .service_name = daemon->otel->service_name,
                                         .given = daemon->otel->resource.list,
                                         .n_given = daemon->otel->resource.n};
    daemon->metrics.dns_query_duration.exponential = daemon->otel->exponential_histograms;
    daemon->metrics.api_requests.exponential = daemon->otel->exponential_histograms;
    daemon->logs[0] = daemon->log;
    daemon->logs[1] = daemon->api_log;
    int error = make_attributes(daemon);
    if (!error && daemon->config->ui)
        error = recent_new(daemon->logs, 2, &daemon->recent);
    if (!error)
        error = meter_new(&meter, clock_realtime_ns(), &daemon->meter);
    if (!error)
        error = resource_new(&resource, &daemon->resource);
    struct prometheus_settings prometheus = {.version = EGRESS_VERSION,
                                             .resource = daemon->resource,
                                             .attributes = daemon->attributes,
                                             .n_attributes = daemon->n_attributes};
    if (!error)
        error = prometheus_new(daemon->meter, &prometheus, &daemon->prometheus);
    return error ? daemon_failed(EXIT_UNAVAILABLE, why, error, "cannot start") : EXIT_OK;
}

static enum daemon_exit make_exporter(struct daemon *daemon, struct why *why)
{
    const struct config *config = daemon->config;
    daemon->outputs = calloc(config->n_log_outputs + 1, sizeof(*daemon->outputs));
    if (!daemon->outputs)
        return daemon_failed(EXIT_UNAVAILABLE, why, -ENOMEM, "cannot start");
    memcpy(daemon->outputs, config->log_outputs, config->n_log_outputs * sizeof(*daemon->outputs));
    daemon->outputs[config->n_log_outputs] = "stderr"; /* OTEL_LOGS_EXPORTER=console */
    struct exporter_settings settings = {.outputs = daemon->outputs,
                                         .n_outputs = config->n_log_outputs + daemon->otel->logs_console,
                                         .attributes = daemon->attributes,
                                         .n_attributes = daemon->n_attributes,
                                         .logs = daemon->logs,
                                         .n_logs = 2,
                                         .recent = daemon->recent,
                                         .metrics = &daemon->metrics,
                                         .network = {.own = &daemon->own,
                                                     .names = {.ctx = daemon, .look_up = daemon_post_lookup},
                                                     .webhook = config->webhook,
                                                     .sandbox_id = config->sandbox_id,
                                                     .otel = daemon->otel,
                                                     .resource = daemon->resource,
                                                     .attributes = daemon->attributes,
                                                     .n_attributes = daemon->n_attributes,
                                                     .meter = daemon->meter,
                                                     .metrics = &daemon->metrics,
                                                     .flushed = daemon_post_flushed,
                                                     .flushed_ctx = daemon}};
    struct why reason;
    int error = exporter_new(&settings, &daemon->exporter, &reason);
    if (!error)
        return EXIT_OK;
    if (error == -ELIBACC) {
        *why = reason;
        return EXIT_UNAVAILABLE;
    }
    why_set(why, error, "OPENSANDBOX_LOG_OUTPUT: %s", reason.text);
    return EXIT_CONFIG;
}

enum daemon_exit daemon_prepare_telemetry(struct daemon *daemon, struct why *why)
{
    enum daemon_exit code = prepare_network(daemon, why);
    if (code == EXIT_OK)
        code = start_metrics(daemon, why);
    if (code == EXIT_OK)
        code = make_exporter(daemon, why);
    /* Libraries are loaded, threads are none: from here on the process can do no more than it needs. */
    if (code == EXIT_OK && confine(daemon->config, daemon->otel, daemon->log, why))
        code = EXIT_UNAVAILABLE;
    return code;
}

void daemon_release_telemetry(struct daemon *daemon)
{
    recent_free(daemon->recent);
    prometheus_free(daemon->prometheus);
    resource_free(daemon->resource);
    meter_free(daemon->meter);
    free(daemon->attributes);
    otel_env_free(daemon->otel);
    free(daemon->outputs);
}
