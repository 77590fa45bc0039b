#include "telemetry/otel_env.h"

#include "base/cleanup.h"
#include "base/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ONE(name, fallback)                                                                                            \
    {                                                                                                                  \
        name, {""}, fallback                                                                                           \
    }
#define EACH(name, fallback)                                                                                           \
    {                                                                                                                  \
        "OTEL_EXPORTER_OTLP_%s" name, {"", "METRICS_", "LOGS_"}, fallback                                              \
    }

/* In the order of docs/telemetry.md. */
static const struct shown {
    const char *format;
    const char *infixes[3];
    const char *fallback;
} shown[] = {
    ONE("OTEL_SDK_DISABLED", "false"),
    ONE("OTEL_METRICS_EXPORTER", "otlp"),
    ONE("OTEL_LOGS_EXPORTER", "otlp"),
    EACH("ENDPOINT", "(none)"),
    EACH("PROTOCOL", "http/protobuf"),
    EACH("HEADERS", "(none)"),
    EACH("TIMEOUT", "10000"),
    EACH("COMPRESSION", "none"),
    EACH("CERTIFICATE", "(the system's)"),
    EACH("CLIENT_KEY", "(none)"),
    EACH("CLIENT_CERTIFICATE", "(none)"),
    EACH("INSECURE", "false"),
    ONE("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "cumulative"),
    ONE("OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", "explicit_bucket_histogram"),
    ONE("OTEL_METRIC_EXPORT_INTERVAL", "60000"),
    ONE("OTEL_METRIC_EXPORT_TIMEOUT", "30000"),
    ONE("OTEL_BLRP_SCHEDULE_DELAY", "1000"),
    ONE("OTEL_BLRP_EXPORT_TIMEOUT", "30000"),
    ONE("OTEL_BLRP_MAX_QUEUE_SIZE", "2048"),
    ONE("OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", "512"),
    ONE("OTEL_SERVICE_NAME", "(opensandbox-egress-VERSION)"),
    ONE("OTEL_RESOURCE_ATTRIBUTES", "(none)"),
    ONE("HOST_IP", "(none)"),
};

/* A variable of which a warning tells is not in force. */
static bool is_refused(const struct otel_env *env, const char *name)
{
    size_t len = strlen(name);
    for (size_t i = 0; i < env->n_warnings; i++)
        if (!strncmp(env->warnings[i], name, len) && strchr("=:", env->warnings[i][len]))
            return true;
    return false;
}

static void print_one(const struct otel_env *env, const char *name, const char *fallback)
{
    const char *raw = getenv(name);
    _cleanup_free_ char *value = raw ? text_trimmed(raw, strlen(raw)) : NULL;
    bool set = value && *value && !is_refused(env, name);
    if (set && strstr(name, "HEADERS"))
        printf("%s=(hidden)\n", name);
    else /* what stands behind a URL's question mark may be a key */
        printf("%s=%.*s\n", name, set && strstr(name, "ENDPOINT") ? (int)strcspn(value, "?") : -1,
               set ? value : fallback);
}

void otel_env_print(const struct otel_env *env)
{
    for (size_t i = 0; i < sizeof(shown) / sizeof(shown[0]); i++) {
        for (size_t k = 0; k < 3 && shown[i].infixes[k]; k++) {
            char name[64], *infix = strstr(shown[i].format, "%s");
            if (infix)
                snprintf(name, sizeof(name), "%.*s%s%s", (int)(infix - shown[i].format), shown[i].format,
                         shown[i].infixes[k], infix + 2);
            else
                snprintf(name, sizeof(name), "%s", shown[i].format);
            /* A signal's own variable holds only where it is set. */
            print_one(env, name, k ? "(as the general one)" : shown[i].fallback);
        }
    }
    printf("OTLP metrics: %s\nOTLP logs: %s\n", env->metrics.url ? "on" : "off", env->logs.url ? "on" : "off");
}
