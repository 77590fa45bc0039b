#include "policy/rule_file.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"
#include "policy/name.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#define RULE_FILE_MAX (16u * 1024 * 1024)

DEFINE_CLEANUP(struct rule_list, cleanup_rule_list, rule_list_free);

/* The line up to its comment: a '#' at the start or after white space, so that one inside a target is an error. */
static size_t comment_start(const char *line, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (line[i] == '#' && (i == 0 || text_is_space(line[i - 1])))
            return i;
    return len;
}

static int add_line(const char *line, size_t len, enum action action, bool names_only, struct rule_list *list,
                    struct why *why)
{
    char target[NAME_TEXT_MAX];
    if (memchr(line, '\0', len))
        return why_set(why, -EINVAL, "a NUL byte; expected text");
    len = comment_start(line, len);
    line = text_trim(line, &len);
    if (!len)
        return 0;
    if (len >= sizeof(target))
        return why_set(why, -EINVAL, "the line has %zu octets; expected one target", len);
    memcpy(target, line, len);
    target[len] = '\0';
    int error = rule_list_add(list, action, target, why);
    if (error || !names_only)
        return error;
    const struct rule *rule = rule_list_at(list, rule_list_count(list) - 1);
    if (rule->kind == TARGET_PREFIX)
        return why_set(why, -EINVAL, "\"%s\" is an address; expected a name or *.name", target);
    return 0;
}

int rule_file_parse(const char *path, const char *text, size_t len, enum action action, bool names_only,
                    struct policy **ret, struct why *why)
{
    static const char byte_order_mark[] = "\xEF\xBB\xBF";
    _cleanup_(cleanup_rule_list) struct rule_list *list = NULL;
    int error = rule_list_new(&list);
    if (error)
        return error;
    if (len >= 3 && !memcmp(text, byte_order_mark, 3)) {
        text += 3;
        len -= 3;
    }
    for (size_t number = 1; len; number++) {
        const char *end = memchr(text, '\n', len);
        size_t line_len = end ? (size_t)(end - text) : len;
        struct why reason = {0};
        error = add_line(text, line_len, action, names_only, list, &reason);
        if (error == -EINVAL)
            return why_set(why, error, "%s:%zu: %s", path, number, reason.text);
        if (error)
            return error;
        line_len += end ? 1 : 0;
        text += line_len;
        len -= line_len;
    }
    return policy_new(ACTION_DENY, take_pointer(list), ret);
}

int rule_file_load(const char *folder, const char *name, enum action action, bool names_only, struct policy **ret,
                   struct why *why)
{
    char path[PATH_MAX];
    if (snprintf(path, sizeof(path), "%s/%s", folder, name) >= (int)sizeof(path))
        return why_set(why, -ENAMETOOLONG, "%.200s/%s: %s", folder, name, strerror(ENAMETOOLONG));
    _cleanup_buf_ struct buf content = {0};
    int error = file_read(path, RULE_FILE_MAX, &content);
    if (error == -ENOENT) {
        *ret = NULL;
        return 0;
    }
    if (error)
        return why_set(why, error, "%s: %s", path, strerror(-error));
    return rule_file_parse(path, content.data, content.len, action, names_only, ret, why);
}
