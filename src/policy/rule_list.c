/* The list of rules under construction, and the meaning of a target. */
#include "base/cleanup.h"
#include "base/text.h"
#include "policy/bad_target.h"
#include "policy/name.h"
#include "policy/policy.h"

#include <errno.h>
#include <string.h>

#define CHUNK_FIRST 1024
#define CHUNK_MAX (64 * 1024)

/* What rules point to lies in few large pieces: 100,000 rules are 200 allocations instead of 200,000. */
struct chunk {
    struct chunk *next;
    size_t used, size;
    uint8_t data[];
};

struct rule_list {
    struct rule *rules;
    size_t count, cap;
    struct chunk *chunks; /* the newest first; the only one with room */
};

int rule_list_new(struct rule_list **ret)
{
    struct rule_list *list = calloc(1, sizeof(*list));
    if (!list)
        return -ENOMEM;
    *ret = list;
    return 0;
}

void rule_list_free(struct rule_list *list)
{
    if (!list)
        return;
    while (list->chunks) {
        struct chunk *chunk = list->chunks;
        list->chunks = chunk->next;
        free(chunk);
    }
    free(list->rules);
    free(list);
}

static void *keep(struct rule_list *list, const void *data, size_t len)
{
    struct chunk *chunk = list->chunks;
    if (!chunk || chunk->size - chunk->used < len) {
        size_t size = chunk ? chunk->size * 2 : CHUNK_FIRST;
        if (size > CHUNK_MAX)
            size = CHUNK_MAX;
        if (size < len)
            size = len;
        chunk = malloc(sizeof(*chunk) + size);
        if (!chunk)
            return NULL;
        *chunk = (struct chunk){.next = list->chunks, .size = size};
        list->chunks = chunk;
    }
    void *at = chunk->data + chunk->used;
    memcpy(at, data, len);
    chunk->used += len;
    return at;
}

int rule_list_copy(struct rule_list *list, const struct rule *rule)
{
    struct rule copy = *rule; /* `rule` may lie in the array that is about to move */
    if (list->count == list->cap) {
        if (list->count == RULES_MAX)
            return -ENOMEM;
        size_t cap = list->cap ? list->cap * 2 : 16;
        struct rule *rules = realloc(list->rules, cap * sizeof(*rules));
        if (!rules)
            return -ENOMEM;
        list->rules = rules;
        list->cap = cap;
    }
    copy.text = keep(list, copy.text, strlen(copy.text) + 1);
    if (!copy.text)
        return -ENOMEM;
    if (copy.name_len) {
        copy.name = keep(list, copy.name, copy.name_len);
        if (!copy.name)
            return -ENOMEM;
    }
    list->rules[list->count++] = copy;
    return 0;
}

/* ::ffff:0:0/96 (RFC 4291 section 2.5.5.2): the kernel sends to it as IPv4, so no packet ever carries it. */
static bool is_v4_mapped(const struct ip_prefix *prefix)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    return prefix->addr.family == AF_INET6 && prefix->bits >= 96 && !memcmp(prefix->addr.bytes, mapped, sizeof(mapped));
}

/* Fills in what `text` means. A name is written to `wire`. */
static int parse_target(const char *text, uint8_t wire[NAME_WIRE_MAX], struct rule *rule, struct why *why)
{
    if (!*text)
        return why_set(why, -EINVAL, "the target is empty; expected a name, *.name, an IP address or a CIDR");
    if (!strcmp(text, "*")) {
        rule->kind = TARGET_ANY;
        return 0;
    }
    if (!ip_prefix_parse(text, &rule->prefix)) {
        rule->kind = TARGET_PREFIX;
        if (is_v4_mapped(&rule->prefix))
            return why_set(why, -EINVAL, "\"%s\": no packet carries an IPv4-mapped address; expected the IPv4 one",
                           text);
        return 0;
    }
    int error = bad_target_check(text, why);
    if (error)
        return error;
    rule->kind = strncmp(text, "*.", 2) ? TARGET_NAME : TARGET_WILDCARD;
    const char *name = rule->kind == TARGET_WILDCARD ? text + 2 : text;
    if (rule->kind == TARGET_WILDCARD && (!*name || !strcmp(name, ".")))
        return why_set(why, -EINVAL, "\"%s\": expected a name after \"*.\"", text);
    size_t len;
    error = name_from_text(name, wire, &len, why);
    if (error)
        return error;
    if (rule->kind == TARGET_WILDCARD && len + 2 > NAME_WIRE_MAX)
        return why_set(why, -EINVAL, "\"%.100s\": the name is so long that there can be none below it", text);
    rule->name = wire;
    rule->name_len = (uint8_t)len;
    return 0;
}

int rule_list_add(struct rule_list *list, enum action action, const char *target, struct why *why)
{
    char text[NAME_TEXT_MAX];
    uint8_t wire[NAME_WIRE_MAX];
    size_t len = strlen(target);
    const char *trimmed = text_trim(target, &len);
    if (len >= sizeof(text))
        return why_set(why, -EINVAL, "\"%.100s\": the target has %zu octets; expected a name, an IP address or a CIDR",
                       trimmed, len);
    memcpy(text, trimmed, len);
    text[len] = '\0';
    struct rule rule = {.action = action, .text = text};
    int error = parse_target(text, wire, &rule, why);
    return error ? error : rule_list_copy(list, &rule);
}

size_t rule_list_count(const struct rule_list *list)
{
    return list->count;
}

const struct rule *rule_list_at(const struct rule_list *list, size_t i)
{
    return &list->rules[i];
}
