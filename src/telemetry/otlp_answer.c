#include "telemetry/otlp_answer.h"

#include "base/text.h"
#include "telemetry/base64.h"
#include "telemetry/otlp.pb-c.h"

#include <cjson/cJSON.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#define RETRY_AFTER_MAX_MS (24ull * 3600 * 1000) /* more is no date worth waiting for */
#define DETAILS_MAX 4096
#define GRPC_FRAME 5
#define RETRY_INFO "google.rpc.RetryInfo"

/* google.golang.org/grpc/codes and their like: the numbers are the protocol's. */
enum grpc_code {
    GRPC_OK = 0,
    GRPC_CANCELLED = 1,
    GRPC_DEADLINE_EXCEEDED = 4,
    GRPC_RESOURCE_EXHAUSTED = 8,
    GRPC_ABORTED = 10,
    GRPC_OUT_OF_RANGE = 11,
    GRPC_UNAVAILABLE = 14,
    GRPC_DATA_LOSS = 15,
};

const char *const otlp_answer_headers[] = {
    "content-type", "retry-after", "grpc-status", "grpc-message", "grpc-status-details-bin", NULL};

static void say(struct otlp_answer *answer, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void say(struct otlp_answer *answer, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(answer->message, sizeof(answer->message), format, args);
    va_end(args);
    for (char *c = answer->message; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = ' ';
}

static bool is_json(const struct http_post *post)
{
    const char *type = http_post_header(post, "content-type");
    return type && !strncasecmp(type, "application/json", strlen("application/json"));
}

/* --- what was taken --- */

static void read_partial(const uint8_t *message, size_t len, struct otlp_answer *answer)
{
    Otlp__ExportServiceResponse *response = (Otlp__ExportServiceResponse *)protobuf_c_message_unpack(
        &otlp__export_service_response__descriptor, NULL, len, message);
    if (!response) {
        say(answer, "its answer cannot be read");
        return;
    }
    const Otlp__ExportPartialSuccess *partial = response->partial_success;
    if (partial) {
        answer->rejected = partial->rejected > 0 ? (uint64_t)partial->rejected : 0;
        say(answer, "%s", partial->error_message);
    }
    protobuf_c_message_free_unpacked(&response->base, NULL);
}

/* 64-bit integers are text in OTLP/JSON; numbers are taken as well. */
static uint64_t json_count(const cJSON *json)
{
    double number = cJSON_IsString(json)   ? strtod(json->valuestring, NULL)
                    : cJSON_IsNumber(json) ? json->valuedouble
                                           : 0;
    return number > 0 && number < (double)INT64_MAX ? (uint64_t)number : 0;
}

static void read_partial_json(const char *text, size_t len, struct otlp_answer *answer)
{
    cJSON *json = cJSON_ParseWithLength(text, len);
    const cJSON *partial = cJSON_GetObjectItemCaseSensitive(json, "partialSuccess");
    const cJSON *said = cJSON_GetObjectItemCaseSensitive(partial, "errorMessage");
    answer->rejected = json_count(cJSON_GetObjectItemCaseSensitive(partial, "rejectedDataPoints")) +
                       json_count(cJSON_GetObjectItemCaseSensitive(partial, "rejectedLogRecords"));
    if (!json)
        say(answer, "its answer cannot be read");
    else if (cJSON_IsString(said))
        say(answer, "%s", said->valuestring);
    cJSON_Delete(json);
}

/* --- HTTP --- */

/* What an error's body says: a google.rpc.Status. */
static void read_error(const struct http_post *post, struct otlp_answer *answer)
{
    char said[160] = "";
    if (is_json(post)) {
        cJSON *json = cJSON_ParseWithLength(post->answer.data, post->answer.len);
        const cJSON *message = cJSON_GetObjectItemCaseSensitive(json, "message");
        if (cJSON_IsString(message))
            snprintf(said, sizeof(said), ": %s", message->valuestring);
        cJSON_Delete(json);
    } else if (post->answer.len) {
        Otlp__Status *status = (Otlp__Status *)protobuf_c_message_unpack(
            &otlp__status__descriptor, NULL, post->answer.len, (const uint8_t *)post->answer.data);
        if (status && *status->message)
            snprintf(said, sizeof(said), ": %s", status->message);
        if (status)
            protobuf_c_message_free_unpacked(&status->base, NULL);
    }
    say(answer, "HTTP status %u%s", post->status, said);
}

static bool is_passing(unsigned status)
{
    return status == 429 || status == 502 || status == 503 || status == 504;
}

/* RFC 9110 section 10.2.3: seconds, or a date in the one form that is still sent. */
static uint64_t retry_after(const char *value, int64_t now_s)
{
    unsigned seconds;
    struct tm tm = {0};
    uint64_t ms = 0;
    if (!value)
        return 0;
    if (text_whole_number(value, 0, INT_MAX, &seconds)) {
        ms = seconds * 1000ull;
    } else {
        const char *end = strptime(value, "%a, %d %b %Y %H:%M:%S GMT", &tm);
        int64_t at = end && !*end ? timegm(&tm) : 0;
        ms = at > now_s ? (uint64_t)(at - now_s) * 1000 : 0;
    }
    return ms < RETRY_AFTER_MAX_MS ? ms : RETRY_AFTER_MAX_MS;
}

static void read_http(const struct http_post *post, int64_t now_s, struct otlp_answer *answer)
{
    if (post->status >= 200 && post->status < 300) {
        answer->verdict = OTLP_TAKEN;
        if (!post->answer.len)
            return;
        if (is_json(post))
            read_partial_json(post->answer.data, post->answer.len, answer);
        else
            read_partial((const uint8_t *)post->answer.data, post->answer.len, answer);
        return;
    }
    answer->verdict = is_passing(post->status) ? OTLP_RETRY : OTLP_REFUSED;
    answer->retry_after_ms = retry_after(http_post_header(post, "retry-after"), now_s);
    read_error(post, answer);
}

/* --- gRPC --- */

/* Looks for a RetryInfo; true when there is one. */
static bool read_details(const char *base64, uint64_t *ret_ms)
{
    uint8_t bytes[DETAILS_MAX];
    size_t len;
    if (!base64 || !base64_decode(base64, bytes, sizeof(bytes), &len))
        return false;
    Otlp__Status *status = (Otlp__Status *)protobuf_c_message_unpack(&otlp__status__descriptor, NULL, len, bytes);
    bool found = false;
    for (size_t i = 0; status && i < status->n_details && !found; i++) {
        const Otlp__Any *any = status->details[i];
        const char *type = strrchr(any->type_url, '/');
        if (strcmp(type ? type + 1 : any->type_url, RETRY_INFO))
            continue;
        Otlp__RetryInfo *info = (Otlp__RetryInfo *)protobuf_c_message_unpack(&otlp__retry_info__descriptor, NULL,
                                                                             any->value.len, any->value.data);
        found = info != NULL;
        int64_t seconds = info && info->retry_delay ? info->retry_delay->seconds : 0;
        int32_t nanos = info && info->retry_delay ? info->retry_delay->nanos : 0;
        if (seconds >= 0 && seconds < (int64_t)(RETRY_AFTER_MAX_MS / 1000) && nanos >= 0)
            *ret_ms = (uint64_t)seconds * 1000 + (uint64_t)nanos / 1000000;
        if (info)
            protobuf_c_message_free_unpacked(&info->base, NULL);
    }
    if (status)
        protobuf_c_message_free_unpacked(&status->base, NULL);
    return found;
}

static bool is_passing_code(unsigned code, bool retry_info)
{
    switch (code) {
    case GRPC_CANCELLED:
    case GRPC_DEADLINE_EXCEEDED:
    case GRPC_ABORTED:
    case GRPC_OUT_OF_RANGE:
    case GRPC_UNAVAILABLE:
    case GRPC_DATA_LOSS:
        return true;
    case GRPC_RESOURCE_EXHAUSTED:
        return retry_info;
    default:
        return false;
    }
}

/* The message of a unary answer: 1 byte compressed?, 4 bytes length, the message. Compression was not offered. */
static void read_grpc_message(const struct http_post *post, struct otlp_answer *answer)
{
    const uint8_t *data = (const uint8_t *)post->answer.data;
    if (post->answer.len < GRPC_FRAME)
        return;
    size_t len = (size_t)data[1] << 24 | (size_t)data[2] << 16 | (size_t)data[3] << 8 | data[4];
    if (!data[0] && len <= post->answer.len - GRPC_FRAME)
        read_partial(data + GRPC_FRAME, len, answer);
    else
        say(answer, "its answer cannot be read");
}

static void read_grpc(const struct http_post *post, struct otlp_answer *answer)
{
    const char *text = http_post_header(post, "grpc-status"), *said = http_post_header(post, "grpc-message");
    unsigned code;
    if (!text || !text_whole_number(text, 0, INT_MAX, &code)) {
        /* Whoever answered does not speak gRPC: a proxy, perhaps. */
        answer->verdict = is_passing(post->status) ? OTLP_RETRY : OTLP_REFUSED;
        say(answer, "HTTP status %u without a gRPC status", post->status);
        return;
    }
    if (code == GRPC_OK) {
        answer->verdict = OTLP_TAKEN;
        read_grpc_message(post, answer);
        return;
    }
    bool retry_info = read_details(http_post_header(post, "grpc-status-details-bin"), &answer->retry_after_ms);
    answer->verdict = is_passing_code(code, retry_info) ? OTLP_RETRY : OTLP_REFUSED;
    say(answer, "gRPC status %u%s%s", code, said && *said ? ": " : "", said ? said : "");
}

void otlp_answer_read(enum otlp_protocol protocol, const struct http_post *post, int64_t now_s, struct otlp_answer *ret)
{
    *ret = (struct otlp_answer){.reached = post->status != 0};
    bool whole = !post->error;
    bool judged = protocol == OTLP_GRPC ? http_post_header(post, "grpc-status") != NULL : post->status != 0;
    /* A status says it all, even when the connection broke behind it. */
    if (whole || (judged && post->error == HTTP_NO_ANSWER)) {
        if (protocol == OTLP_GRPC)
            read_grpc(post, ret);
        else
            read_http(post, now_s, ret);
        return;
    }
    ret->verdict = post->error == HTTP_TOO_LARGE ? OTLP_REFUSED : OTLP_RETRY;
    ret->reached |= post->error == HTTP_TOO_LARGE || post->error == HTTP_TIMED_OUT;
    say(ret, "%s", post->reason);
}
