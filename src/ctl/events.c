/* `ctl events`: one line for each. */
#include "ctl/listing.h"
#include "ctl/stream.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WAIT_S 25
#define TARGET_WIDTH 40
#define CLOCK_AT 11 /* in 2026-11-22T06:00:04.008Z */
#define SHOWN_ADDRESSES_MAX 3

static void put_allowed(const cJSON *event, struct buf *ret)
{
    const cJSON *ip;
    int n = 0;
    cJSON_ArrayForEach(ip, cJSON_GetObjectItemCaseSensitive(event, "target.ips"))
    {
        if (n++ == SHOWN_ADDRESSES_MAX) {
            buf_puts(ret, "... ");
            break;
        }
        buf_printf(ret, "%s ", cJSON_IsString(ip) ? ip->valuestring : "");
    }
    if (cJSON_GetObjectItemCaseSensitive(event, "latency_ms"))
        buf_printf(ret, "%.0f ms", json_number(event, "latency_ms"));
    else if (*json_text(event, "cache"))
        buf_puts(ret, "kept answer");
}

static void put_policy(const cJSON *event, struct buf *ret)
{
    const cJSON *rules = cJSON_GetObjectItemCaseSensitive(event, "rules");
    double n = rules ? cJSON_GetArraySize(rules) : json_number(event, "rules_count");
    const char *error = json_text(event, "error"), *source = json_text(event, "source");
    buf_puts(ret, strcmp(source, "always") ? "" : "always files: ");
    if (*error)
        buf_printf(ret, "refused: %s", error);
    else
        buf_printf(ret, "%s, %.0f rules, default %s",
                   strcmp(json_text(event, "opensandbox.event"), "egress.loaded") ? "changed" : "loaded", n,
                   json_text(event, "egress.default"));
}

static void put_details(const cJSON *event, enum event_kind kind, struct buf *ret)
{
    switch (kind) {
    case EVENT_POLICY:
        put_policy(event, ret);
        break;
    case EVENT_ALLOWED:
        put_allowed(event, ret);
        break;
    case EVENT_DENIED:
        buf_printf(ret, "rule: %s", json_text(event, "rule"));
        break;
    case EVENT_FAILED:
        buf_puts(ret, json_text(event, "error"));
        break;
    case EVENT_API:
        buf_printf(ret, "request of %s: %s %s: %s", json_text(event, "peer"), json_text(event, "http.request.method"),
                   json_text(event, "http.route"), json_text(event, "reason"));
        break;
    }
    if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(event, "audit")))
        buf_puts(ret, " (audit mode: not refused)");
}

static void put_event(const struct command *command, const cJSON *event, struct buf *out)
{
    static const char *const words[] = {"policy ", "allowed", "denied ", "failed ", "refused"};
    static const enum tone tones[] = {TONE_BOLD, TONE_GOOD, TONE_BAD, TONE_BAD, TONE_BAD};
    enum event_kind kind = event_kind(event);
    const char *ts = json_text(event, "ts");
    _cleanup_buf_ struct buf target = {0}, details = {0};
    bool of_target = kind != EVENT_POLICY && kind != EVENT_API;
    if (of_target)
        event_target(event, &target);
    while (of_target && target.len < TARGET_WIDTH)
        buf_putc(&target, ' ');
    buf_puts(&target, of_target ? "  " : "");
    put_details(event, kind, &details);
    tone_put(out, command->colour, TONE_FAINT, strlen(ts) > CLOCK_AT ? ts + CLOCK_AT : ts);
    buf_puts(out, "  ");
    tone_put(out, command->colour, tones[kind], words[kind]);
    buf_puts(out, "  ");
    tone_put(out, false, TONE_PLAIN, target.len ? target.data : "");
    tone_put(out, command->colour, TONE_FAINT, details.len ? details.data : "");
    buf_putc(out, '\n');
}

static void put_json(const cJSON *event, struct buf *out)
{
    char *text = cJSON_PrintUnformatted(event);
    out->failed |= !text;
    buf_printf(out, "%s\n", text ? text : "");
    free(text);
}

static int print_events(struct command *command, const cJSON *events)
{
    _cleanup_buf_ struct buf out = {0};
    const cJSON *event;
    cJSON_ArrayForEach(event, events)
    {
        if (command->denied && event_kind(event) != EVENT_DENIED)
            continue;
        if (command->json)
            put_json(event, &out);
        else
            put_event(command, event, &out);
    }
    return command_print(command, &out);
}

int events_follow(struct command *command)
{
    struct stream stream = {0};
    for (;;) {
        _cleanup_json_ cJSON *answer = NULL;
        const cJSON *events;
        double lost = stream.lost;
        int code = stream_next(&stream, command, WAIT_S, &answer, &events);
        if (stream.lost > lost)
            fprintf(stderr, "opensandbox-egress ctl: %.0f events came too fast and are not shown\n",
                    stream.lost - lost);
        if (!code)
            code = print_events(command, events);
        if (code || command->once)
            return code;
    }
}
