#include "telemetry/otel_env.h"

#include "base/cleanup.h"
#include "base/file.h"
#include "base/ip.h"
#include "base/text.h"
#include "telemetry/otel_reader.h"
#include "telemetry/otel_value.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define VARIABLE_NAME_MAX 64
#define QUEUE_MAX 65536u /* records; what they may weigh has a limit of its own */
#define HOSTINFO_MAX (64 * 1024)
#define OTLP_PORT 4318
#define OTLP_GRPC_PORT 4317

/* What holds for each signal, after the general variables and the signal's own. */
struct signal {
    const char *infix; /* "METRICS_" or "LOGS_" */
    const char *path;  /* behind a general endpoint */
    const char *method;
    struct otlp_settings *settings;
};

static bool read_protocol(struct otel_reader *r, const char *name, void *ret)
{
    static const char *const words[] = {
        [OTLP_HTTP_PROTOBUF] = "http/protobuf", [OTLP_HTTP_JSON] = "http/json", [OTLP_GRPC] = "grpc"};
    unsigned word;
    if (!otel_read_word(r, name, words, 3, "http/protobuf, http/json or grpc", &word))
        return false;
    *(enum otlp_protocol *)ret = (enum otlp_protocol)word;
    return true;
}

static bool read_compression(struct otel_reader *r, const char *name, void *ret)
{
    static const char *const words[] = {"none", "gzip"};
    unsigned word;
    if (!otel_read_word(r, name, words, 2, "none or gzip", &word))
        return false;
    *(bool *)ret = word;
    return true;
}

static bool read_timeout(struct otel_reader *r, const char *name, void *ret)
{
    return otel_read_number(r, name, 0, INT_MAX, ret);
}

static bool read_headers(struct otel_reader *r, const char *name, void *ret)
{
    _cleanup_free_ char *value = otel_value_of(r, name);
    size_t bad = 0;
    if (!value)
        return false;
    if (otel_pairs_parse(value, false, otel_header_fits, ret, &bad))
        r->error = -ENOMEM;
    if (bad)
        otel_warn(r, "%s: %zu of its headers cannot be used: expected name=value, percent-encoded, comma separated",
                  name, bad);
    return true;
}

/* --- one signal --- */

/* The variable's name for the signal, or the general one when there is none. */
static const char *otlp_name(char out[VARIABLE_NAME_MAX], const struct signal *signal, const char *suffix)
{
    snprintf(out, VARIABLE_NAME_MAX, "OTEL_EXPORTER_OTLP_%s%s", signal ? signal->infix : "", suffix);
    return out;
}

/* Reads the signal's own variable, or else the general one. */
static void read_either(struct otel_reader *r, const struct signal *signal, const char *suffix,
                        bool (*read_one)(struct otel_reader *r, const char *name, void *ret), void *ret)
{
    char name[VARIABLE_NAME_MAX];
    if (!read_one(r, otlp_name(name, signal, suffix), ret))
        read_one(r, otlp_name(name, NULL, suffix), ret);
}

/* False when the variable is not set; one that cannot be used leaves the URL NULL. */
static bool read_endpoint(struct otel_reader *r, const struct signal *signal, bool general, char **ret)
{
    char name[VARIABLE_NAME_MAX];
    _cleanup_free_ char *value = otel_value_of(r, otlp_name(name, general ? NULL : signal, "ENDPOINT"));
    if (!value)
        return false;
    bool grpc = signal->settings->protocol == OTLP_GRPC, insecure = false;
    if (grpc)
        read_either(r, signal, "INSECURE", otel_read_bool, &insecure);
    const char *path = grpc ? signal->method : general ? signal->path : NULL;
    const char *scheme = !grpc ? NULL : insecure ? "http" : "https";
    int error = otel_url(value, path, scheme, ret);
    if (error == -ENOMEM)
        r->error = error;
    else if (error) /* there may be a password in it */
        otel_warn(r,
                  "%s: expected http://host[:port][/path] or https://…, without user and password; this signal is not "
                  "exported by OTLP",
                  name);
    return true;
}

/* The address of the machine that the sandbox runs on, as its operator left it; NULL when there is none. */
static char *host_address(struct otel_reader *r)
{
    struct ip_addr addr;
    char *value = otel_value_of(r, "HOST_IP");
    if (value && !ip_parse(value, &addr))
        return value;
    if (value)
        otel_expected(r, "HOST_IP", value, "an IP address");
    free(value);
    _cleanup_buf_ struct buf file = {0};
    if (file_read(r->hostinfo, HOSTINFO_MAX, &file) || !file.len)
        return NULL;
    for (const char *line = file.data; *line;) {
        size_t len = strcspn(line, "\n");
        char *text = text_trimmed(line, len);
        if (text && !ip_parse(text, &addr))
            return text;
        free(text);
        line += len + (line[len] == '\n');
    }
    return NULL;
}

static void read_host_endpoint(struct otel_reader *r, const struct signal *signal)
{
    _cleanup_free_ char *host = host_address(r);
    bool grpc = signal->settings->protocol == OTLP_GRPC, v6 = host && strchr(host, ':');
    if (host && asprintf(&signal->settings->url, "http://%s%s%s:%d%s", v6 ? "[" : "", host, v6 ? "]" : "",
                         grpc ? OTLP_GRPC_PORT : OTLP_PORT, grpc ? signal->method : signal->path) < 0) {
        signal->settings->url = NULL;
        r->error = -ENOMEM;
    }
}

static void read_signal(struct otel_reader *r, const struct signal *signal)
{
    struct otlp_settings *s = signal->settings;
    s->timeout_ms = 10000;
    read_either(r, signal, "PROTOCOL", read_protocol, &s->protocol);
    read_either(r, signal, "HEADERS", read_headers, &s->headers);
    read_either(r, signal, "TIMEOUT", read_timeout, &s->timeout_ms);
    read_either(r, signal, "COMPRESSION", read_compression, &s->gzip);
    read_either(r, signal, "CERTIFICATE", otel_read_text, &s->certificate);
    read_either(r, signal, "CLIENT_KEY", otel_read_text, &s->client_key);
    read_either(r, signal, "CLIENT_CERTIFICATE", otel_read_text, &s->client_certificate);
    if (!s->client_key != !s->client_certificate) {
        otel_warn(r,
                  "OTEL_EXPORTER_OTLP_%s: a client certificate needs both CLIENT_KEY and CLIENT_CERTIFICATE; not used",
                  s == &r->env->metrics ? "METRICS" : "LOGS");
        free(s->client_key);
        free(s->client_certificate);
        s->client_key = s->client_certificate = NULL;
    }
    if (!read_endpoint(r, signal, false, &s->url) && !read_endpoint(r, signal, true, &s->url) && s == &r->env->metrics)
        read_host_endpoint(r, signal);
}

/* --- the rest --- */

static void read_exporters(struct otel_reader *r, const char *name, bool disabled, struct otlp_settings *settings,
                           bool *ret_console)
{
    struct otel_exporters exporters = {.prometheus = settings == &r->env->metrics};
    bool set = otel_read_exporters(r, name, &exporters);
    *ret_console = exporters.console && !disabled;
    if ((set && !exporters.otlp) || disabled) {
        free(settings->url);
        settings->url = NULL;
    }
}

static void read_resource(struct otel_reader *r)
{
    static const char name[] = "OTEL_RESOURCE_ATTRIBUTES";
    _cleanup_free_ char *value = otel_value_of(r, name);
    size_t bad = 0;
    if (value && otel_pairs_parse(value, true, NULL, &r->env->resource, &bad))
        r->error = -ENOMEM;
    if (bad)
        otel_expected(r, name, value, "key=value, percent-encoded, comma separated");
    otel_read_text(r, "OTEL_SERVICE_NAME", &r->env->service_name);
}

static void read_metrics(struct otel_reader *r)
{
    static const char *const temporalities[] = {
        [OTEL_CUMULATIVE] = "cumulative", [OTEL_DELTA] = "delta", [OTEL_LOW_MEMORY] = "lowmemory"};
    static const char *const histograms[] = {"explicit_bucket_histogram", "base2_exponential_bucket_histogram"};
    struct otel_env *env = r->env;
    unsigned word;
    env->metrics_interval_ms = 60000;
    env->metrics_timeout_ms = 30000;
    otel_read_number(r, "OTEL_METRIC_EXPORT_INTERVAL", 1, INT_MAX, &env->metrics_interval_ms);
    otel_read_number(r, "OTEL_METRIC_EXPORT_TIMEOUT", 0, INT_MAX, &env->metrics_timeout_ms);
    if (otel_read_word(r, "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", temporalities, 3,
                       "cumulative, delta or lowmemory", &word))
        env->temporality = (enum otel_temporality)word;
    if (otel_read_word(r, "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", histograms, 2,
                       "explicit_bucket_histogram or base2_exponential_bucket_histogram", &word))
        env->exponential_histograms = word;
}

static void read_logs(struct otel_reader *r)
{
    struct otel_env *env = r->env;
    env->logs_delay_ms = 1000;
    env->logs_timeout_ms = 30000;
    env->logs_queue = 2048;
    env->logs_batch = 512;
    otel_read_number(r, "OTEL_BLRP_SCHEDULE_DELAY", 0, INT_MAX, &env->logs_delay_ms);
    otel_read_number(r, "OTEL_BLRP_EXPORT_TIMEOUT", 0, INT_MAX, &env->logs_timeout_ms);
    otel_read_number(r, "OTEL_BLRP_MAX_QUEUE_SIZE", 1, QUEUE_MAX, &env->logs_queue);
    otel_read_number(r, "OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", 1, QUEUE_MAX, &env->logs_batch);
    if (env->logs_batch > env->logs_queue)
        env->logs_batch = env->logs_queue;
}

static void settings_done(struct otlp_settings *settings)
{
    free(settings->url);
    otel_pairs_done(&settings->headers);
    free(settings->certificate);
    free(settings->client_key);
    free(settings->client_certificate);
}

void otel_env_free(struct otel_env *env)
{
    if (!env)
        return;
    settings_done(&env->metrics);
    settings_done(&env->logs);
    otel_pairs_done(&env->resource);
    free(env->service_name);
    for (size_t i = 0; i < env->n_warnings; i++)
        free(env->warnings[i]);
    free(env->warnings);
    free(env);
}

int otel_env_read(const char *hostinfo, struct otel_env **ret)
{
    struct otel_env *env = calloc(1, sizeof(*env));
    if (!env)
        return -ENOMEM;
    struct otel_reader r = {.env = env, .hostinfo = hostinfo};
    const struct signal metrics = {
        .infix = "METRICS_",
        .path = "/v1/metrics",
        .method = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        .settings = &env->metrics,
    };
    const struct signal logs = {
        .infix = "LOGS_",
        .path = "/v1/logs",
        .method = "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        .settings = &env->logs,
    };
    bool disabled = false;
    otel_read_bool(&r, "OTEL_SDK_DISABLED", &disabled);
    read_signal(&r, &metrics);
    read_signal(&r, &logs);
    read_exporters(&r, "OTEL_METRICS_EXPORTER", disabled, &env->metrics, &env->metrics_console);
    read_exporters(&r, "OTEL_LOGS_EXPORTER", disabled, &env->logs, &env->logs_console);
    read_resource(&r);
    read_metrics(&r);
    read_logs(&r);
    if (r.error)
        otel_env_free(env);
    else
        *ret = env;
    return r.error;
}
