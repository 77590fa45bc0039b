#include "api/current.h"

#include "base/buf.h"
#include "policy/policy_json.h"

#include <errno.h>

static void forget_answer(struct current *current)
{
    if (current->answer)
        MHD_destroy_response(current->answer); /* those who are still taking it have references */
    current->answer = NULL;
}

void current_set(struct current *current, struct policy *policy)
{
    struct policy *old = current->policy;
    current->policy = policy_ref(policy);
    policy_unref(old);
    forget_answer(current);
}

void current_done(struct current *current)
{
    policy_unref(current->policy);
    current->policy = NULL;
    forget_answer(current);
}

int current_render(struct current *current)
{
    if (current->answer)
        return 0;
    struct buf body = {0};
    buf_printf(&body, "{\"status\":\"ok\",\"mode\":\"%s\",\"enforcementMode\":\"%s\",\"policy\":",
               policy_mode(current->policy), current->enforcement_mode);
    size_t start = body.len;
    policy_to_json(current->policy, &body);
    size_t end = body.len;
    buf_puts(&body, "}\n");
    if (!body.failed)
        current->answer = MHD_create_response_from_buffer(body.len, body.data, MHD_RESPMEM_MUST_FREE);
    if (!current->answer) {
        buf_done(&body);
        return -ENOMEM;
    }
    etag_make(body.data + start, end - start, current->etag);
    MHD_add_response_header(current->answer, MHD_HTTP_HEADER_CONTENT_TYPE, "application/json");
    MHD_add_response_header(current->answer, MHD_HTTP_HEADER_ETAG, current->etag);
    return 0;
}
