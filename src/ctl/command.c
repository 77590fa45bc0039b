#include "ctl/command.h"

#include "base/file.h"

#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

int command_get(struct command *command, const char *path, struct reply *ret, cJSON **ret_json)
{
    const struct request request = {.method = "GET", .path = path};
    int code = client_ask(command->client, &request, ret, &command->why);
    return code ? code : client_json(command->client, ret, ret_json, &command->why);
}

int command_read(const char *file, size_t max, struct buf *ret, struct why *why)
{
    int error = strcmp(file, "-") ? file_read(file, max, ret) : file_read_fd(STDIN_FILENO, max, ret);
    return error ? why_set(why, EX_NOINPUT, "%.200s: %s", file, strerrordesc_np(-error)) : 0;
}

int command_print(struct command *command, struct buf *text)
{
    if (text->failed)
        return why_set(&command->why, EX_OSERR, "out of memory");
    if (text->len && (fwrite(text->data, 1, text->len, stdout) != text->len || fflush(stdout)))
        return why_set(&command->why, EX_IOERR, "cannot write the output: %m");
    return 0;
}

const char *json_text(const cJSON *object, const char *name)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));
    return text ? text : "";
}

double json_number(const cJSON *object, const char *name)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
    return cJSON_IsNumber(item) ? item->valuedouble : 0;
}

void json_texts(const cJSON *array, struct buf *ret)
{
    const cJSON *item;
    size_t start = ret->len;
    cJSON_ArrayForEach(item, array)
    {
        if (cJSON_IsString(item))
            buf_printf(ret, "%s%s", ret->len > start ? ", " : "", item->valuestring);
    }
}
