/* The environment: the input's lines are NAME=value. It is read, or refused in one line that names a variable. */
#include "config.h"

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
    return 0;
}
