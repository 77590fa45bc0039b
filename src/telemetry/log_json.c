#include "telemetry/log_json.h"

#include "telemetry/log_text.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#define LITERAL(text) text, sizeof(text) - 1

static const char *const level_names[] = {
    [LOG_DEBUG] = "debug", [LOG_INFO] = "info", [LOG_WARN] = "warn", [LOG_ERROR] = "error", [LOG_FATAL] = "fatal",
};

static const char *const event_names[] = {
    [LOG_LOADED] = "egress.loaded",     [LOG_UPDATED] = "egress.updated", [LOG_UPDATE_FAILED] = "egress.update_failed",
    [LOG_OUTBOUND] = "egress.outbound", [LOG_DENIED] = "egress.denied",   [LOG_API_DENIED] = "egress.api.denied",
};

const char *log_event_name(enum log_event event)
{
    return event_names[event];
}

int log_json_init(struct log_json *json, const struct attribute *attributes, size_t n)
{
    *json = (struct log_json){.second = INT64_MIN};
    for (size_t i = 0; i < n; i++) {
        buf_putc(&json->attributes, ',');
        buf_json_string(&json->attributes, attributes[i].key, strlen(attributes[i].key));
        buf_putc(&json->attributes, ':');
        buf_json_string(&json->attributes, attributes[i].value, strlen(attributes[i].value));
    }
    if (!json->attributes.failed)
        return 0;
    log_json_done(json);
    return -ENOMEM;
}

void log_json_done(struct log_json *json)
{
    buf_done(&json->attributes);
}

/* Date and time of day change once a second; the milliseconds are put behind them for every line. */
static void put_time(struct log_json *json, int64_t time_ns, struct buf *out)
{
    int64_t second = time_ns / 1000000000;
    int millis = (int)(time_ns % 1000000000 / 1000000);
    if (second != json->second) {
        struct tm tm;
        time_t t = (time_t)second;
        strftime(json->stamp, sizeof(json->stamp), "%Y-%m-%dT%H:%M:%S", gmtime_r(&t, &tm));
        json->second = second;
    }
    char tail[5] = {'.', (char)('0' + millis / 100), (char)('0' + millis / 10 % 10), (char)('0' + millis % 10), 'Z'};
    buf_append(out, json->stamp, sizeof(json->stamp) - 1);
    buf_append(out, tail, sizeof(tail));
}

static void put_ips(struct buf *out, const uint8_t *data, size_t len)
{
    char text[IP_TEXT_MAX + 3] = "[\"";
    size_t lead = 2;
    if (len < sizeof(struct ip_addr)) {
        buf_append(out, LITERAL("[]"));
        return;
    }
    for (; len >= sizeof(struct ip_addr); data += sizeof(struct ip_addr), len -= sizeof(struct ip_addr)) {
        struct ip_addr addr;
        memcpy(&addr, data, sizeof(addr));
        size_t n = lead + log_text_ip(&addr, text + lead);
        text[n++] = '"';
        buf_append(out, text, n);
        memcpy(text, ",\"", 2);
    }
    buf_putc(out, ']');
}

static void put_int(struct buf *out, int64_t value)
{
    char text[sizeof("-9223372036854775808")], *at = text + sizeof(text);
    uint64_t left = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    do
        *--at = (char)('0' + left % 10);
    while (left /= 10);
    if (value < 0)
        *--at = '-';
    buf_append(out, at, (size_t)(text + sizeof(text) - at));
}

static void put_value(struct buf *out, const struct log_field *field)
{
    switch (field->type) {
    case LOG_STR:
        buf_json_string(out, (const char *)field->data, field->len);
        return;
    case LOG_INT:
        put_int(out, field->integer);
        return;
    case LOG_BOOL:
        buf_puts(out, field->integer ? "true" : "false");
        return;
    case LOG_DOUBLE:
        if (isfinite(field->number))
            buf_printf(out, "%.9g", field->number);
        else
            buf_append(out, LITERAL("null")); /* JSON has no word for it */
        return;
    case LOG_NAME:
        buf_putc(out, '"');
        log_text_name(out, field->data, field->len);
        buf_putc(out, '"');
        return;
    case LOG_IPS:
        put_ips(out, field->data, field->len);
        return;
    case LOG_JSON:
        buf_append(out, field->data, field->len);
        return;
    }
}

void log_json_line(struct log_json *json, struct log_record record, struct buf *out)
{
    buf_append(out, LITERAL("{\"level\":\""));
    buf_puts(out, level_names[record.level]);
    buf_append(out, LITERAL("\",\"ts\":\""));
    json->time_at = out->len;
    put_time(json, record.time_ns, out);
    buf_append(out, LITERAL("\",\"logger\":\"opensandbox.egress\",\"msg\":"));
    buf_json_string(out, record.msg, strlen(record.msg));
    buf_append(out, json->attributes.data, json->attributes.len);
    json->event_at = out->len;
    if (record.event != LOG_PLAIN) {
        buf_append(out, LITERAL(",\"opensandbox.event\":\""));
        buf_puts(out, event_names[record.event]);
        buf_putc(out, '"');
    }
    struct log_field field;
    while (log_field_next(&record, &field)) {
        /* Keys are constants of this program: nothing in them needs escaping. */
        buf_append(out, LITERAL(",\""));
        buf_puts(out, field.key);
        buf_append(out, LITERAL("\":"));
        put_value(out, &field);
    }
    buf_append(out, LITERAL("}\n"));
}
