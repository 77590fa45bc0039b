/* A connection to the API, byte for byte, in pieces of any size. Every answer has a status that the API knows, policies
 * change only for who knows the token, and nothing is left when the connection ends. */
#include "api/server.h"
#include "policy/rule_file.h"

#include "script.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define TOKEN "sesame"
#define RECEIVED_MAX (1 << 20)

static struct {
    bool knows_token; /* the client does */
    struct policy *in_force;
} http;

static struct log *log_queue;
static struct metrics metrics;

static void change(void *ctx, struct policy_change *change)
{
    must(http.knows_token);
    change->error = 0;
    if (change->dry_run) {
        buf_puts(&change->forecast.revoked, "[]");
        buf_puts(&change->forecast.flows, "[]");
    } else if (!change->settled) {
        policy_unref(http.in_force);
        http.in_force = policy_ref(change->next);
    }
    change->answered(change);
}

static void ask(void *ctx, struct policy_question *question)
{
    struct policy_layers layers = {.policy = http.in_force};
    must(http.knows_token);
    question->layers = policy_layers_ref(&layers);
    question->lease.addr = question->addr;
    question->answered(question);
}

static bool healthy(void *ctx, struct why *why)
{
    why_set(why, 0, "not today");
    return false;
}

static void write_metrics(void *ctx, bool openmetrics, struct buf *out)
{
    buf_puts(out, "nothing 1\n");
}

static struct policy *nothing_allowed(void)
{
    struct policy *policy = NULL;
    struct why why;
    must(rule_file_parse("rules", "a.test\n10.0.0.0/8\n", 18, ACTION_ALLOW, false, &policy, &why) == 0);
    return policy;
}

static struct api *start(void)
{
    struct sockaddr_un any = {.sun_family = AF_UNIX};
    struct api_hooks hooks = {.change = change, .ask = ask, .healthy = healthy, .metrics = write_metrics};
    struct api_settings settings = {.listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0),
                                    .local_fd = -1,
                                    .token = TOKEN,
                                    .max_rules = 64,
                                    .enforcement_mode = "dns+nft",
                                    .metrics = &metrics};
    struct api *api = NULL;
    struct why why;
    if (!log_queue)
        must(log_new(1 << 18, LOG_DEBUG, &log_queue) == 0);
    must(!bind(settings.listen_fd, (struct sockaddr *)&any, sizeof(any.sun_family)) && !listen(settings.listen_fd, 1));
    http.in_force = nothing_allowed();
    must(api_start(&settings, &hooks, http.in_force, log_queue, &api, &why) == 0);
    return api;
}

static int connect_to(struct api *api)
{
    int pair[2];
    struct sockaddr_in peer = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0xc0000207), .sin_port = htons(4000)};
    must(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair));
    must(MHD_add_connection(api->servers[SERVER_ADDRESS].http, pair[0], (struct sockaddr *)&peer, sizeof(peer)) ==
         MHD_YES);
    api->http_pending = true;
    return pair[1];
}

/* Each answer begins with a line that has one of these. */
static void check_status(const char *answer)
{
    static const char known[] = "100 200 400 401 403 404 405 408 411 412 413 414 417 422 429 431 500 501 503 505";
    char status[4] = "";
    must(!strncmp(answer, "HTTP/1.", 7));
    memcpy(status, answer + 9, 3);
    must(strlen(status) == 3 && strstr(known, status));
}

static void read_answers(struct api *api, int fd, struct buf *answers)
{
    for (int idle = 0; idle < 3; idle++) {
        char piece[4096];
        world_turn(api->loop);
        ssize_t n = recv(fd, piece, sizeof(piece), 0);
        if (n <= 0)
            continue;
        if (answers->len < RECEIVED_MAX)
            buf_append(answers, piece, (size_t)n);
        idle = 0;
    }
    struct log_record record;
    while (log_peek(log_queue, &record))
        log_pop(log_queue);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct script script = {data, data + len};
    struct buf sent = {0}, answers = {0};
    world_begin();
    memset(&http, 0, sizeof(http));
    struct api *api = start();
    int fd = connect_to(api);
    /* A first octet of 255: all that follows at once; else pieces with their lengths. */
    bool whole = script_u8(&script) == 255;
    while (script.at < script.end) {
        size_t piece_len = (size_t)(script.end - script.at);
        const uint8_t *piece = script.at;
        if (whole)
            script.at = script.end;
        else
            piece = script_bytes(&script, &piece_len);
        buf_append(&sent, piece, piece_len);
        http.knows_token = sent.len && memmem(sent.data, sent.len, TOKEN, strlen(TOKEN));
        send(fd, piece, piece_len, MSG_NOSIGNAL);
        read_answers(api, fd, &answers);
    }
    if (answers.len)
        check_status(answers.data);
    close(fd);
    for (int i = 0; i < 3; i++)
        world_turn(api->loop);
    must(api->n_requests == 0 && api->body_bytes == 0);
    api_stop(api, 0);
    policy_unref(http.in_force);
    buf_done(&sent);
    buf_done(&answers);
    world_end();
    return 0;
}
