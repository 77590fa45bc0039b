#include "api/effective.h"

#include "base/buf.h"
#include "policy/policy_json.h"

#include <stdlib.h>

struct effective {
    unsigned references;
    struct policy_layers layers; /* references: no other policy can have the same address meanwhile */
    struct buf json;
};

void effective_unref(struct effective *effective)
{
    if (!effective || --effective->references)
        return;
    policy_layers_unref(&effective->layers);
    buf_done(&effective->json);
    free(effective);
}

static void put_always(struct buf *json, enum layer layer, const struct policy *policy)
{
    buf_printf(json, ",\"%s\":", layer_name(layer));
    if (policy)
        policy_rules_to_json(policy, json);
    else
        buf_puts(json, "[]");
}

static struct effective *effective_new(const struct policy_layers *layers, const char *enforcement_mode)
{
    struct effective *effective = calloc(1, sizeof(*effective));
    if (!effective)
        return NULL;
    struct buf *json = &effective->json;
    effective->references = 1;
    effective->layers = policy_layers_ref(layers);
    buf_printf(json, "{\"status\":\"ok\",\"mode\":\"%s\",\"enforcementMode\":\"%s\"", policy_mode(layers->policy),
               enforcement_mode);
    put_always(json, LAYER_DENY_ALWAYS, layers->deny_always);
    put_always(json, LAYER_ALLOW_ALWAYS, layers->allow_always);
    buf_printf(json, ",\"%s\":", layer_name(LAYER_POLICY));
    policy_to_json(layers->policy, json);
    buf_puts(json, "}\n");
    if (json->failed) {
        effective_unref(effective);
        return NULL;
    }
    return effective;
}

static void answer_done(void *effective)
{
    effective_unref(effective);
}

struct MHD_Response *effective_answer(struct effective **cache, const struct policy_layers *layers,
                                      const char *enforcement_mode)
{
    struct effective *effective = *cache;
    if (!effective || !policy_layers_same(&effective->layers, layers)) {
        effective = effective_new(layers, enforcement_mode);
        if (!effective)
            return NULL;
        effective_unref(*cache);
        *cache = effective;
    }
    struct MHD_Response *answer = MHD_create_response_from_buffer_with_free_callback_cls(
        effective->json.len, effective->json.data, answer_done, effective);
    if (answer)
        effective->references++;
    return answer;
}
