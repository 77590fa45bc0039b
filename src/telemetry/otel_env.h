/* The OpenTelemetry environment: OTEL_* and HOST_IP, as the OpenTelemetry specification and the OTLP exporter's have
 * it.
 *
 * Empty is unset. A value that cannot be used is a warning and counts as unset, so that a signal's variable gives way
 * to the general one, and that to the default: none of this is worth a start that fails. One exception: an endpoint
 * that cannot be used leaves its signal without OTLP, since the data must not go where nobody sent it. */
#ifndef TELEMETRY_OTEL_ENV_H
#define TELEMETRY_OTEL_ENV_H

#include "telemetry/log_json.h"

#include <stdbool.h>
#include <stddef.h>

enum otlp_protocol { OTLP_HTTP_PROTOBUF, OTLP_HTTP_JSON, OTLP_GRPC };
enum otel_temporality { OTEL_CUMULATIVE, OTEL_DELTA, OTEL_LOW_MEMORY };

struct otel_pairs {
    struct attribute *list;
    size_t n;
};

/* How one signal leaves by OTLP. */
struct otlp_settings {
    char *url; /* requests go there as it is, gRPC's method included; NULL: this signal does not leave by OTLP */
    enum otlp_protocol protocol;
    struct otel_pairs headers; /* secrets; names are HTTP tokens, values without control characters */
    unsigned timeout_ms;       /* for one batch with its retries; 0: none */
    bool gzip;
    char *certificate, *client_key, *client_certificate; /* paths; NULL: the system's, none, none */
};

struct otel_env {
    struct otlp_settings metrics, logs;
    bool metrics_console, logs_console;
    unsigned metrics_interval_ms, metrics_timeout_ms;
    enum otel_temporality temporality;
    bool exponential_histograms;
    unsigned logs_delay_ms, logs_timeout_ms;
    unsigned logs_queue, logs_batch; /* records; a batch is never more than the queue holds */
    char *service_name;              /* OTEL_SERVICE_NAME; NULL: not set */
    struct otel_pairs resource;      /* OTEL_RESOURCE_ATTRIBUTES */
    char **warnings;                 /* one line each, without secrets */
    size_t n_warnings;
};

#define OTEL_HOSTINFO "/etc/hostinfo"

/* `hostinfo`: the file asked when neither an endpoint nor HOST_IP is set, OTEL_HOSTINFO. 0 or -ENOMEM. */
int otel_env_read(const char *hostinfo, struct otel_env **ret);
void otel_env_free(struct otel_env *env);
/* Prints what is in force, one `NAME=value` a line, headers hidden. */
void otel_env_print(const struct otel_env *env);

#endif
