/* The environment: the input's lines are NAME=value. It is read, or refused in one line that names a variable; what is
 * OpenTelemetry's is always read, with warnings. */
#include "config.h"
#include "telemetry/otel_env.h"

#include "fuzz.h"

#include <string.h>

static void set_variables(char *text)
{
    clearenv();
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        char *value = strchr(line, '=');
        if (!value || value == line)
            continue;
        *value++ = 0;
        setenv(line, value, 1);
    }
}

static void read_otel(void)
{
    struct otel_env *env = NULL;
    must(otel_env_read("/nowhere/hostinfo", &env) == 0);
    must(env->logs_batch && env->logs_batch <= env->logs_queue);
    must(!env->metrics.url || !strncmp(env->metrics.url, "http", 4));
    must(!env->logs.url || !strncmp(env->logs.url, "http", 4));
    for (size_t i = 0; i < env->metrics.headers.n; i++)
        must(!strpbrk(env->metrics.headers.list[i].value, "\r\n"));
    for (size_t i = 0; i < env->n_warnings; i++)
        must(*env->warnings[i] && !strchr(env->warnings[i], '\n'));
    otel_env_free(env);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    char *text = malloc(len + 1);
    memcpy(text, data, len);
    text[len] = 0;
    set_variables(text);
    free(text);
    struct config *config = NULL;
    struct why why = {""};
    int error = config_from_env(&config, &why);
    must(error ? why.text[0] != 0 : config != NULL);
    config_free(config);
    read_otel();
    return 0;
}
