#include "dns/search_list.h"

#include <string.h>

/* Whether a label begins at `at`. */
static bool is_label(const uint8_t *name, size_t at)
{
    size_t label = 0;
    while (label < at)
        label += 1u + name[label];
    return label == at;
}

static bool is_allowed(const struct policy_layers *layers, const uint8_t *name, size_t len)
{
    struct decision decision = policy_decide(layers, name, len);
    return decision.action == ACTION_ALLOW && decision.rule && decision.rule->kind != TARGET_ANY;
}

bool search_list_made(const struct policy_layers *layers, const struct dns_suffix *suffixes, size_t n,
                      const uint8_t *name, size_t len)
{
    for (size_t i = 0; i < n; i++) {
        const struct dns_suffix *suffix = &suffixes[i];
        if (len <= suffix->len)
            continue;
        size_t stem = len - suffix->len;
        if (memcmp(name + stem, suffix->name, suffix->len) || !is_label(name, stem))
            continue;
        uint8_t asked[255];
        memcpy(asked, name, stem);
        asked[stem] = 0; /* the root */
        if (is_allowed(layers, asked, stem + 1))
            return true;
    }
    return false;
}
