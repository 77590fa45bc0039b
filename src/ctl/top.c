/* `ctl top`: names and addresses by count. */
#include "base/cleanup.h"
#include "ctl/listing.h"
#include "ctl/stream.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#define WAIT_S 1
#define TARGETS_MAX 4096 /* beyond them events are counted alone */
#define CLOCK_AT 11      /* in 2026-11-22T06:00:04.008Z */
#define CLOCK_LEN 8

struct target {
    char *text, *rule; /* NULL: none denied it */
    unsigned n[EVENT_FAILED + 1];
    char last[CLOCK_LEN + 1];
    double latency_ms; /* in all */
    unsigned n_latencies;
};

struct top {
    struct target *targets;
    size_t n_targets;
    unsigned n_events, n_dropped;
};

static void top_done(struct top *top)
{
    for (size_t i = 0; i < top->n_targets; i++) {
        free(top->targets[i].text);
        free(top->targets[i].rule);
    }
    free(top->targets);
}

/* NULL when there are too many, or memory is short. */
static struct target *find_target(struct top *top, const char *text)
{
    for (size_t i = 0; i < top->n_targets; i++)
        if (!strcmp(top->targets[i].text, text))
            return &top->targets[i];
    if (!top->targets)
        top->targets = calloc(TARGETS_MAX, sizeof(*top->targets));
    if (!top->targets || top->n_targets == TARGETS_MAX || !(top->targets[top->n_targets].text = strdup(text)))
        return NULL;
    return &top->targets[top->n_targets++];
}

static void count(struct top *top, const cJSON *event)
{
    enum event_kind kind = event_kind(event);
    if (kind == EVENT_POLICY || kind == EVENT_API)
        return;
    _cleanup_buf_ struct buf text = {0};
    event_target(event, &text);
    struct target *target = text.len && !text.failed ? find_target(top, text.data) : NULL;
    top->n_events++;
    if (!target) {
        top->n_dropped++;
        return;
    }
    const char *ts = json_text(event, "ts"), *rule = json_text(event, "rule");
    target->n[kind]++;
    snprintf(target->last, sizeof(target->last), "%s", strlen(ts) > CLOCK_AT ? ts + CLOCK_AT : "");
    if (cJSON_GetObjectItemCaseSensitive(event, "latency_ms")) {
        target->latency_ms += json_number(event, "latency_ms");
        target->n_latencies++;
    }
    if (kind == EVENT_DENIED) {
        free(target->rule);
        target->rule = strdup(rule);
    }
}

static unsigned total(const struct target *target)
{
    return target->n[EVENT_ALLOWED] + target->n[EVENT_DENIED] + target->n[EVENT_FAILED];
}

static int compare(const void *a, const void *b)
{
    const struct target *one = a, *other = b;
    unsigned n = total(one), m = total(other);
    return n != m ? (n < m ? 1 : -1) : strcmp(one->text, other->text);
}

static void put_count(struct listing *listing, enum tone tone, unsigned n)
{
    listing_printf(listing, n ? tone : TONE_FAINT, "%7u", n);
}

static void put_table(const struct command *command, const struct top *top, size_t rows, size_t width, struct buf *out)
{
    _cleanup_listing_ struct listing listing = {command->colour, 7};
    listing_titles(&listing, " DENIED,ALLOWED, FAILED,LAST (UTC),   MS,TARGET,DENIED BY");
    for (size_t i = 0; i < top->n_targets && rows; i++) {
        const struct target *target = &top->targets[i];
        if (command->denied && !target->n[EVENT_DENIED])
            continue;
        put_count(&listing, TONE_BAD, target->n[EVENT_DENIED]);
        put_count(&listing, TONE_GOOD, target->n[EVENT_ALLOWED]);
        put_count(&listing, TONE_BAD, target->n[EVENT_FAILED]);
        listing_add(&listing, TONE_FAINT, target->last);
        if (target->n_latencies)
            listing_printf(&listing, TONE_PLAIN, "%5.0f", target->latency_ms / target->n_latencies);
        else
            listing_add(&listing, TONE_PLAIN, "");
        listing_add(&listing, TONE_PLAIN, target->text);
        listing_add(&listing, TONE_FAINT, target->rule ? target->rule : "");
        rows--;
    }
    listing_put(&listing, width, out);
}

static void put_json(const struct command *command, const struct top *top, struct buf *out)
{
    const char *separator = "[";
    for (size_t i = 0; i < top->n_targets; i++) {
        const struct target *target = &top->targets[i];
        if (command->denied && !target->n[EVENT_DENIED])
            continue;
        buf_printf(out, "%s{\"target\":", separator);
        buf_json_string(out, target->text, strlen(target->text));
        buf_puts(out, ",\"rule\":");
        if (target->rule)
            buf_json_string(out, target->rule, strlen(target->rule));
        else
            buf_puts(out, "null");
        buf_printf(out, ",\"denied\":%u,\"allowed\":%u,\"failed\":%u}", target->n[EVENT_DENIED],
                   target->n[EVENT_ALLOWED], target->n[EVENT_FAILED]);
        separator = ",\n ";
    }
    buf_puts(out, *separator == '[' ? "[]\n" : "]\n");
}

/* From the upper left corner on, in one write, so that nothing flickers. */
static void put_screen(const struct command *command, const struct top *top, struct buf *out)
{
    struct winsize size = {0};
    ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
    size_t rows = size.ws_row > 4 ? size.ws_row : 24, columns = size.ws_col ? size.ws_col : 80;
    buf_printf(out, "\033[H\033[2J%s: %u events of %zu targets%s\n", client_address(command->client), top->n_events,
               top->n_targets, top->n_dropped ? " (too many: not all of them are shown)" : "");
    put_table(command, top, rows - 3, columns, out);
}

int top_show(struct command *command)
{
    bool live = command->terminal && !command->once && !command->json;
    _cleanup_(top_done) struct top top = {0};
    struct stream stream = {0};
    int code;
    do {
        _cleanup_json_ cJSON *answer = NULL;
        _cleanup_buf_ struct buf out = {0};
        const cJSON *events, *event;
        code = stream_next(&stream, command, WAIT_S, &answer, &events);
        if (code)
            return code;
        cJSON_ArrayForEach(event, events)
        {
            count(&top, event);
        }
        if (top.n_targets)
            qsort(top.targets, top.n_targets, sizeof(*top.targets), compare);
        if (live)
            put_screen(command, &top, &out);
        else if (command->json)
            put_json(command, &top, &out);
        else
            put_table(command, &top, SIZE_MAX, 0, &out);
        code = command_print(command, &out);
    } while (live && !code);
    return code;
}
