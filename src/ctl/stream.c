#include "ctl/stream.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

int stream_next(struct stream *stream, struct command *command, unsigned wait_s, cJSON **ret_answer,
                const cJSON **ret_events)
{
    static const struct timespec pause = {.tv_nsec = 100 * 1000 * 1000};
    char path[128] = "/events";
    if (stream->begun) {
        nanosleep(&pause, NULL);
        snprintf(path, sizeof(path), "/events?after=%.0f&started=%.0f&wait=%u", stream->last, stream->started, wait_s);
    }
    const struct request request = {.method = "GET", .path = path, .wait_s = wait_s};
    _cleanup_reply_ struct reply reply = {0};
    int code = client_ask(command->client, &request, &reply, &command->why);
    if (!code)
        code = client_json(command->client, &reply, ret_answer, &command->why);
    if (code)
        return code;
    stream->lost += stream->begun ? json_number(*ret_answer, "lost") : 0;
    stream->started = json_number(*ret_answer, "started");
    stream->last = json_number(*ret_answer, "last");
    stream->begun = true;
    *ret_events = cJSON_GetObjectItemCaseSensitive(*ret_answer, "events");
    return 0;
}

enum event_kind event_kind(const cJSON *event)
{
    const char *name = json_text(event, "opensandbox.event");
    if (!strcmp(name, "egress.denied"))
        return EVENT_DENIED;
    if (!strcmp(name, "egress.api.denied"))
        return EVENT_API;
    if (strcmp(name, "egress.outbound"))
        return EVENT_POLICY;
    return *json_text(event, "error") ? EVENT_FAILED : EVENT_ALLOWED;
}

void event_target(const cJSON *event, struct buf *ret)
{
    const char *host = json_text(event, "target.host"), *peer = json_text(event, "peer");
    buf_puts(ret, *host ? host : peer);
    if (*host || !*peer)
        return;
    double port = json_number(event, "network.peer.port");
    if (port > 0)
        buf_printf(ret, " port %.0f", port);
    buf_printf(ret, " %s", json_text(event, "network.transport"));
}
