#include "telemetry/otlp_logs.h"

#include "telemetry/log_text.h"
#include "telemetry/protobuf.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <math.h>
#include <string.h>

/* Field numbers of LogRecord, AnyValue and KeyValue as in otlp.proto. */
#define RECORD_ATTRIBUTES 6
#define JSON_DEPTH_MAX 8

enum { ANY_STRING = 1, ANY_BOOL = 2, ANY_INT = 3, ANY_DOUBLE = 4, ANY_ARRAY = 5, ANY_KVLIST = 6 };

static const struct {
    unsigned number;
    const char *text;
} severities[] = {
    [LOG_DEBUG] = {5, "DEBUG"},  [LOG_INFO] = {9, "INFO"},    [LOG_WARN] = {13, "WARN"},
    [LOG_ERROR] = {17, "ERROR"}, [LOG_FATAL] = {21, "FATAL"},
};

int otlp_logs_init(struct otlp_logs *logs, const struct attribute *attributes, size_t n)
{
    *logs = (struct otlp_logs){0};
    for (size_t i = 0; i < n; i++)
        otlp_text_attribute(&logs->constants, RECORD_ATTRIBUTES, attributes[i].key, attributes[i].value,
                            strlen(attributes[i].value));
    if (!logs->constants.failed)
        return 0;
    otlp_logs_done(logs);
    return -ENOMEM;
}

void otlp_logs_done(struct otlp_logs *logs)
{
    buf_done(&logs->constants);
    buf_done(&logs->text);
}

/* --- values, as fields of an AnyValue that is open --- */

static void put_ips(struct buf *out, const uint8_t *data, size_t len)
{
    char text[IP_TEXT_MAX];
    size_t array = protobuf_begin(out, ANY_ARRAY);
    for (; len >= sizeof(struct ip_addr); data += sizeof(struct ip_addr), len -= sizeof(struct ip_addr)) {
        struct ip_addr addr;
        memcpy(&addr, data, sizeof(addr));
        size_t value = protobuf_begin(out, 1);
        protobuf_bytes(out, ANY_STRING, text, log_text_ip(&addr, text));
        protobuf_end(out, value);
    }
    protobuf_end(out, array);
}

/* log_text_name() writes for JSON, where a backslash is two. */
static void put_name(struct otlp_logs *logs, struct buf *out, const uint8_t *wire, size_t len)
{
    struct buf *text = &logs->text;
    buf_clear(text);
    log_text_name(text, wire, len);
    size_t n = 0;
    for (size_t i = 0; i < text->len; i++) {
        text->data[n++] = text->data[i];
        i += text->data[i] == '\\';
    }
    protobuf_bytes(out, ANY_STRING, text->data, n);
    out->failed |= text->failed;
}

static void put_json(struct buf *out, const cJSON *json, int depth);

static void put_children(struct buf *out, const cJSON *json, int depth)
{
    bool object = cJSON_IsObject(json);
    size_t list = protobuf_begin(out, object ? ANY_KVLIST : ANY_ARRAY);
    const cJSON *child;
    cJSON_ArrayForEach(child, json)
    {
        size_t pair = object ? protobuf_begin(out, 1) : 0;
        if (object)
            protobuf_string(out, 1, child->string, strlen(child->string));
        size_t value = protobuf_begin(out, object ? 2 : 1);
        put_json(out, child, depth + 1);
        protobuf_end(out, value);
        if (object)
            protobuf_end(out, pair);
    }
    protobuf_end(out, list);
}

static void put_json(struct buf *out, const cJSON *json, int depth)
{
    if (cJSON_IsString(json)) {
        protobuf_string(out, ANY_STRING, json->valuestring, strlen(json->valuestring));
    } else if (cJSON_IsBool(json)) {
        protobuf_varint(out, ANY_BOOL, cJSON_IsTrue(json));
    } else if (cJSON_IsNumber(json)) {
        double number = json->valuedouble;
        if (number == rint(number) && fabs(number) < 9007199254740992.0)
            protobuf_varint(out, ANY_INT, (uint64_t)(int64_t)number);
        else
            protobuf_double(out, ANY_DOUBLE, number);
    } else if ((cJSON_IsObject(json) || cJSON_IsArray(json)) && depth < JSON_DEPTH_MAX) {
        put_children(out, json, depth);
    }
}

static void put_json_text(struct buf *out, const char *text, size_t len)
{
    cJSON *json = cJSON_ParseWithLength(text, len);
    if (json)
        put_json(out, json, 0);
    else
        protobuf_string(out, ANY_STRING, text, len);
    cJSON_Delete(json);
}

static void put_field(struct otlp_logs *logs, struct buf *out, const struct log_field *field)
{
    size_t pair = protobuf_begin(out, RECORD_ATTRIBUTES);
    protobuf_bytes(out, 1, field->key, strlen(field->key));
    size_t value = protobuf_begin(out, 2);
    switch (field->type) {
    case LOG_STR:
        protobuf_string(out, ANY_STRING, (const char *)field->data, field->len);
        break;
    case LOG_INT:
        protobuf_varint(out, ANY_INT, (uint64_t)field->integer);
        break;
    case LOG_BOOL:
        protobuf_varint(out, ANY_BOOL, (uint64_t)field->integer);
        break;
    case LOG_DOUBLE:
        protobuf_double(out, ANY_DOUBLE, field->number);
        break;
    case LOG_NAME:
        put_name(logs, out, field->data, field->len);
        break;
    case LOG_IPS:
        put_ips(out, field->data, field->len);
        break;
    case LOG_JSON:
        put_json_text(out, (const char *)field->data, field->len);
        break;
    }
    protobuf_end(out, value);
    protobuf_end(out, pair);
}

void otlp_logs_record(struct otlp_logs *logs, struct log_record record, int64_t observed_ns, struct buf *out)
{
    const char *event = log_event_name(record.event);
    size_t begun = protobuf_begin(out, 2);
    protobuf_fixed64(out, 1, (uint64_t)record.time_ns);
    protobuf_varint(out, 2, severities[record.level].number);
    protobuf_bytes(out, 3, severities[record.level].text, strlen(severities[record.level].text));
    size_t body = protobuf_begin(out, 5);
    protobuf_string(out, ANY_STRING, record.msg, strlen(record.msg));
    protobuf_end(out, body);
    buf_append(out, logs->constants.data, logs->constants.len);
    if (event)
        otlp_text_attribute(out, RECORD_ATTRIBUTES, "opensandbox.event", event, strlen(event));
    struct log_field field;
    while (log_field_next(&record, &field))
        put_field(logs, out, &field);
    protobuf_fixed64(out, 11, (uint64_t)observed_ns);
    if (event)
        protobuf_bytes(out, 12, event, strlen(event));
    protobuf_end(out, begun);
}
