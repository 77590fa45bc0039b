/* A collector's answer: protocol, status, how the connection ended, headers and trailers, body. Whatever comes, there
 * is a verdict, a delay of a day at most and one line for people. */
#include "telemetry/otlp_answer.h"

#include "script.h"

#include <string.h>

#define DAY_MS 86400000u

static char *text_of(struct script *script)
{
    size_t len;
    const uint8_t *bytes = script_bytes(script, &len);
    return strndup((const char *)bytes, len);
}

static void must_be_one_line(const char *text)
{
    for (; *text; text++)
        must((unsigned char)*text >= 0x20 && *text != 0x7f);
}

static void read_answer(enum otlp_protocol protocol, const struct http_post *post)
{
    struct otlp_answer answer;
    otlp_answer_read(protocol, post, 1795000000, &answer);
    must(answer.verdict <= OTLP_REFUSED);
    must(answer.retry_after_ms <= DAY_MS);
    must(memchr(answer.message, 0, sizeof(answer.message)));
    must_be_one_line(answer.message);
    must(!answer.rejected || answer.verdict == OTLP_TAKEN);
    must(answer.verdict != OTLP_TAKEN || post->status);
    if (protocol != OTLP_GRPC && !post->error)
        must((answer.verdict == OTLP_TAKEN) == (post->status >= 200 && post->status < 300));
    if (protocol == OTLP_GRPC && answer.verdict == OTLP_TAKEN)
        must(http_post_header(post, "grpc-status") != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct script script = {data, data + len};
    struct http_post post = {.wanted = otlp_answer_headers, .reason = "the connection ended"};
    enum otlp_protocol protocol = script_u8(&script) % 3;
    uint8_t there = script_u8(&script);
    post.error = there >> 5 & 3 ? (enum http_error)((there >> 5) % (HTTP_TLS + 1)) : HTTP_OK;
    post.status = script_u16(&script) % 600;
    if (!post.status)
        post.error = HTTP_NOT_CONNECTED;
    for (size_t i = 0; otlp_answer_headers[i]; i++)
        if (there >> i & 1)
            post.found[i] = text_of(&script);
    buf_append(&post.answer, script.at, (size_t)(script.end - script.at));
    read_answer(protocol, &post);
    for (size_t i = 0; otlp_answer_headers[i]; i++)
        free(post.found[i]);
    buf_done(&post.answer);
    return 0;
}
