#include "policy/json_text.h"

#include "base/utf8.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

static bool is_white(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

int json_text_check(const char *text, size_t len, struct why *why)
{
    const uint8_t *s = (const uint8_t *)text;
    bool in_string = false;
    for (size_t i = 0; i < len;) {
        if (s[i] >= 0x80) {
            size_t n = utf8_sequence(s + i, len - i);
            if (!n)
                return why_set(why, -EINVAL, "not valid UTF-8 at byte %zu", i);
            i += n;
            continue;
        }
        if (s[i] < ' ' && (in_string || !is_white(s[i])))
            return why_set(why, -EINVAL, "not valid JSON: control character 0x%02x at byte %zu", s[i], i);
        if (in_string && s[i] == '\\') {
            if (len - i >= 6 && !memcmp(s + i, "\\u0000", 6))
                return why_set(why, -EINVAL, "NUL character (\\u0000) in a string at byte %zu", i);
            bool escaped = len - i >= 2 && (s[i + 1] == '"' || s[i + 1] == '\\'); /* and so ends and begins nothing */
            i += escaped ? 2 : 1;
            continue;
        }
        if (s[i] == '"')
            in_string = !in_string;
        i++;
    }
    return 0;
}
