#include "telemetry/otlp_client.h"

#include "base/cleanup.h"
#include "base/loop.h"
#include "telemetry/otlp_answer.h"
#include "telemetry/otlp_body.h"
#include "version.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#define USER_AGENT "OTel-OTLP-Exporter-C/" EGRESS_VERSION " opensandbox-egress/" EGRESS_VERSION
#define ANSWER_MAX (4u << 20)
#define BACKOFF_MIN_MS 1000u
#define BACKOFF_MAX_MS 30000u
#define WARNING_INTERVAL_NS (60 * NS_PER_S)
#define OWN_LINES 5 /* headers that the exporter makes itself */
#define TIMEOUT_LINE_MAX 32
#define GRPC_TIMEOUT_MAX_MS 99999999ull /* eight digits */

struct otlp_client {
    struct otlp_client_settings settings;
    struct http_post post;
    const char **lines; /* of the headers; grpc-timeout is the last one */
    char **user_lines;
    size_t n_lines, n_user_lines;
    char timeout_line[TIMEOUT_LINE_MAX];
    struct buf body;
    size_t items; /* under way */
    bool busy;
    uint64_t deadline_ns; /* UINT64_MAX: none */
    uint64_t retry_ns;    /* UINT64_MAX: a post is under way, or nothing is */
    unsigned backoff_ms;
    uint64_t next_warning_ns, unsaid; /* items that no warning has told of yet */
};

static bool is_grpc(const struct otlp_client *client)
{
    return client->settings.otlp->protocol == OTLP_GRPC;
}

/* --- counting and telling --- */

static void count(struct otlp_client *client, enum export_result result, size_t n)
{
    enum metric metric = client->settings.is_logs ? metric_exported_logs(result) : metric_exported_points(result);
    metric_add(client->settings.metrics, metric, n);
}

static void warn(struct otlp_client *client, const char *msg, const char *error, size_t lost, uint64_t now_ns)
{
    struct log *log = client->settings.log;
    client->unsaid += lost;
    if (now_ns < client->next_warning_ns || !log_begin(log, LOG_WARN, LOG_PLAIN, msg))
        return;
    const char *signal = client->settings.is_logs ? "logs" : "metrics";
    log_str(log, "signal", signal, strlen(signal));
    if (*error)
        log_str(log, "error", error, strlen(error));
    log_int(log, "lost", (int64_t)client->unsaid);
    log_end(log);
    client->unsaid = 0;
    client->next_warning_ns = now_ns + WARNING_INTERVAL_NS;
}

void otlp_client_tell(struct otlp_client *client)
{
    client->next_warning_ns = 0;
    if (client->unsaid)
        warn(client, "telemetry could not be exported", "", 0, clock_monotonic_ns());
}

static void finish(struct otlp_client *client)
{
    client->busy = false;
    client->retry_ns = UINT64_MAX;
    client->items = 0;
    buf_done(&client->body); /* a burst is over some time, and what it took is not needed until the next */
}

static void fail(struct otlp_client *client, enum export_result result, const char *error, uint64_t now_ns)
{
    count(client, result, client->items);
    warn(client, "telemetry could not be exported", error, client->items, now_ns);
    finish(client);
}

static void taken(struct otlp_client *client, const struct otlp_answer *answer, uint64_t now_ns)
{
    size_t rejected = answer->rejected < client->items ? (size_t)answer->rejected : client->items;
    count(client, EXPORT_DONE, client->items - rejected);
    count(client, EXPORT_REJECTED, rejected);
    if (rejected)
        warn(client, "the collector rejected some telemetry", answer->message, rejected, now_ns);
    else if (*answer->message)
        warn(client, "the collector took the telemetry with a warning", answer->message, 0, now_ns);
    finish(client);
}

/* --- attempts --- */

/* The least and the most a wait may be are half and one and a half of its turn in the row, so that many sidecars do not
 * come back at once. */
static unsigned jittered(unsigned ms)
{
    uint32_t random;
    if (getrandom(&random, sizeof(random), GRND_NONBLOCK) != sizeof(random))
        random = UINT32_MAX / 2;
    return ms / 2 + (unsigned)((uint64_t)ms * random >> 32);
}

static void wait_or_fail(struct otlp_client *client, const struct otlp_answer *answer, uint64_t now_ns)
{
    uint64_t wait_ms = jittered(client->backoff_ms);
    if (wait_ms < answer->retry_after_ms)
        wait_ms = answer->retry_after_ms;
    client->backoff_ms = client->backoff_ms < BACKOFF_MAX_MS / 2 ? client->backoff_ms * 2 : BACKOFF_MAX_MS;
    uint64_t retry_ns = now_ns + wait_ms * NS_PER_MS;
    if (retry_ns < client->deadline_ns)
        client->retry_ns = retry_ns;
    else
        fail(client, answer->reached ? EXPORT_TIMEOUT : EXPORT_CONNECTION, answer->message, now_ns);
}

static void post_done(struct http_post *post)
{
    struct otlp_client *client = post->owner;
    struct otlp_answer answer;
    uint64_t now_ns = clock_monotonic_ns();
    otlp_answer_read(client->settings.otlp->protocol, post, time(NULL), &answer);
    http_post_clear(post);
    if (answer.verdict == OTLP_TAKEN)
        taken(client, &answer, now_ns);
    else if (answer.verdict == OTLP_RETRY)
        wait_or_fail(client, &answer, now_ns);
    else
        fail(client, EXPORT_REFUSED, answer.message, now_ns);
}

static void attempt(struct otlp_client *client, uint64_t now_ns)
{
    struct http_post *post = &client->post;
    bool limited = client->deadline_ns != UINT64_MAX;
    uint64_t left_ms = limited && client->deadline_ns > now_ns ? (client->deadline_ns - now_ns) / NS_PER_MS : 0;
    client->retry_ns = UINT64_MAX;
    post->timeout_ms = !limited ? 0 : left_ms ? (unsigned)left_ms : 1;
    post->body = client->body.data;
    post->body_len = client->body.len;
    if (is_grpc(client)) {
        uint64_t told_ms = left_ms < GRPC_TIMEOUT_MAX_MS ? left_ms : GRPC_TIMEOUT_MAX_MS;
        snprintf(client->timeout_line, sizeof(client->timeout_line), "grpc-timeout: %" PRIu64 "m", told_ms);
        client->lines[client->n_lines] = limited ? client->timeout_line : NULL;
    }
    int error = http_post_start(client->settings.http, post);
    if (error)
        fail(client, EXPORT_REFUSED, strerror(-error), now_ns);
}

bool otlp_client_busy(const struct otlp_client *client)
{
    return client->busy;
}

void otlp_client_send(struct otlp_client *client, const void *request, size_t len, size_t items, uint64_t now_ns)
{
    const struct otlp_settings *otlp = client->settings.otlp;
    client->busy = true;
    client->items = items;
    client->backoff_ms = BACKOFF_MIN_MS;
    client->deadline_ns = client->settings.timeout_ms ? now_ns + client->settings.timeout_ms * NS_PER_MS : UINT64_MAX;
    int error = otlp_body(otlp->protocol, otlp->gzip, client->settings.request, request, len, &client->body);
    if (error)
        fail(client, EXPORT_REFUSED, strerror(-error), now_ns);
    else
        attempt(client, now_ns);
}

void otlp_client_step(struct otlp_client *client, uint64_t now_ns)
{
    if (client->busy && now_ns >= client->retry_ns)
        attempt(client, now_ns);
}

uint64_t otlp_client_due(const struct otlp_client *client)
{
    return client->busy ? client->retry_ns : UINT64_MAX;
}

void otlp_client_hurry(struct otlp_client *client, uint64_t deadline_ns)
{
    if (client->busy && deadline_ns < client->deadline_ns)
        client->deadline_ns = deadline_ns;
    if (client->busy && client->retry_ns != UINT64_MAX && client->retry_ns >= deadline_ns)
        client->retry_ns = 0; /* the last attempt */
}

void otlp_client_give_up(struct otlp_client *client)
{
    if (!client->busy)
        return;
    http_post_cancel(client->settings.http, &client->post);
    fail(client, EXPORT_TIMEOUT, "there was no time left", clock_monotonic_ns());
}

/* --- made and gone --- */

/* libcurl sends a header without a value only when it ends in a semicolon. */
static int make_user_lines(struct otlp_client *client)
{
    const struct otel_pairs *headers = &client->settings.otlp->headers;
    client->user_lines = calloc(headers->n + 1, sizeof(*client->user_lines));
    client->lines = calloc(headers->n + OWN_LINES + 1, sizeof(*client->lines));
    if (!client->user_lines || !client->lines)
        return -ENOMEM;
    for (size_t i = 0; i < headers->n; i++) {
        const struct attribute *pair = &headers->list[i];
        bool empty = !*pair->value;
        if (asprintf(&client->user_lines[i], "%s%s%s", pair->key, empty ? ";" : ": ", pair->value) < 0)
            return -ENOMEM;
        client->n_user_lines++;
    }
    return 0;
}

static void make_lines(struct otlp_client *client)
{
    static const char *const types[] = {
        [OTLP_HTTP_PROTOBUF] = "Content-Type: application/x-protobuf",
        [OTLP_HTTP_JSON] = "Content-Type: application/json",
        [OTLP_GRPC] = "content-type: application/grpc+proto",
    };
    const struct otlp_settings *otlp = client->settings.otlp;
    client->lines[client->n_lines++] = types[otlp->protocol];
    if (is_grpc(client))
        client->lines[client->n_lines++] = "te: trailers";
    if (otlp->gzip)
        client->lines[client->n_lines++] = is_grpc(client) ? "grpc-encoding: gzip" : "Content-Encoding: gzip";
    for (size_t i = 0; i < client->n_user_lines; i++)
        client->lines[client->n_lines++] = client->user_lines[i];
}

int otlp_client_new(const struct otlp_client_settings *settings, struct otlp_client **ret)
{
    struct otlp_client *client = calloc(1, sizeof(*client));
    if (!client)
        return -ENOMEM;
    const struct otlp_settings *otlp = settings->otlp;
    client->settings = *settings;
    client->retry_ns = UINT64_MAX;
    int error = make_user_lines(client);
    if (error) {
        otlp_client_free(client);
        return error;
    }
    make_lines(client);
    client->post = (struct http_post){
        .url = otlp->url,
        .headers = client->lines,
        .answer_max = ANSWER_MAX,
        .user_agent = USER_AGENT,
        .http2 = is_grpc(client),
        .ca = otlp->certificate,
        .cert = otlp->client_certificate,
        .key = otlp->client_key,
        .wanted = otlp_answer_headers,
        .done = post_done,
        .owner = client,
    };
    *ret = client;
    return 0;
}

void otlp_client_free(struct otlp_client *client)
{
    if (!client)
        return;
    http_post_cancel(client->settings.http, &client->post);
    http_post_clear(&client->post);
    for (size_t i = 0; i < client->n_user_lines; i++)
        free(client->user_lines[i]);
    free(client->user_lines);
    free(client->lines);
    buf_done(&client->body);
    free(client);
}
