#include "base/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

const char *text_trim(const char *text, size_t *len)
{
    while (*len && text_is_space(text[*len - 1]))
        --*len;
    while (*len && text_is_space(*text)) {
        text++;
        --*len;
    }
    return text;
}

char *text_trimmed(const char *text, size_t len)
{
    text = text_trim(text, &len);
    return strndup(text, len);
}

static bool is_one_of(const char *text, const char *const words[5])
{
    for (size_t i = 0; i < 5; i++)
        if (!strcasecmp(text, words[i]))
            return true;
    return false;
}

bool text_truthy(const char *text)
{
    return is_one_of(text, (const char *const[5]){"1", "true", "yes", "y", "on"});
}

bool text_falsy(const char *text)
{
    return is_one_of(text, (const char *const[5]){"0", "false", "no", "n", "off"});
}

bool text_whole_number(const char *text, unsigned min, unsigned max, unsigned *ret)
{
    char *end;
    errno = 0;
    unsigned long number = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || errno || number < min || number > max)
        return false;
    *ret = (unsigned)number;
    return true;
}

int text_split(const char *text, char separator, int (*each)(void *ctx, const char *part), void *ctx)
{
    for (;;) {
        const char *end = strchrnul(text, separator);
        char *part = text_trimmed(text, (size_t)(end - text));
        int result = part ? each(ctx, part) : -ENOMEM;
        free(part);
        if (result || !*end)
            return result;
        text = end + 1;
    }
}
