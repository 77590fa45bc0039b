#include "secrets.h"

#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

/* URLs may have a user's password or a key in their query. */
static const char *const variables[] = {
    "OPENSANDBOX_EGRESS_TOKEN",           "OPENSANDBOX_EGRESS_DENY_WEBHOOK",     "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_EXPORTER_OTLP_METRICS_HEADERS", "OTEL_EXPORTER_OTLP_LOGS_HEADERS",     "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
    "OTEL_EXPORTER_OTLP_ENDPOINT",        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",
};

static char *secret_value(char *entry)
{
    for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++) {
        size_t len = strlen(variables[i]);
        if (!strncmp(entry, variables[i], len) && entry[len] == '=')
            return entry + len + 1;
    }
    return NULL;
}

static void close_memory(void)
{
    /* Neither can fail: a limit may always be lowered. */
    setrlimit(RLIMIT_CORE, &(struct rlimit){0});
    prctl(PR_SET_DUMPABLE, 0L, 0L, 0L, 0L);
}

bool secrets_hide(void)
{
    bool any = false;
    /* Not by getenv(), which finds only the first of two entries with one name. */
    for (char **entry = environ; entry && *entry; entry++) {
        char *value = secret_value(*entry);
        if (!value || !*value)
            continue;
        explicit_bzero(value, strlen(value));
        any = true;
    }
    if (any)
        close_memory();
    return any;
}

void secrets_keep(void)
{
    for (char **entry = environ; entry && *entry; entry++) {
        const char *value = secret_value(*entry);
        if (value && *value)
            close_memory();
    }
}
