#include "api_fixture.h"

#include "base/cleanup.h"
#include "policy/policy_json.h"
#include "policy/rule_file.h"

#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WAIT_S 10

/* --- the fake daemon --- */

static void give_verdict(struct fixture *f, struct policy_change *change)
{
    change->error = f->fail_after == 0 ? f->error : 0;
    if (f->fail_after > 0)
        f->fail_after--;
    if (change->error)
        why_set(&change->why, change->error, "no room in the kernel");
    else {
        policy_unref(f->in_force);
        f->in_force = policy_ref(change->next);
    }
    change->answered(change);
}

static void on_change(struct mail *mail, void *ctx)
{
    struct fixture *f = ctx;
    struct policy_change *change = (struct policy_change *)mail;
    if (change->settled) {
        f->n_settled++;
        change->answered(change);
        return;
    }
    ck_assert_ptr_null(f->held);
    if (change->dry_run) {
        buf_puts(&change->forecast.revoked, FIXTURE_REVOKED);
        buf_puts(&change->forecast.flows, FIXTURE_FLOWS);
        change->forecast.n_revoked = 1;
        change->forecast.n_flows = 2;
        change->answered(change);
        return;
    }
    f->n_changes++;
    if (f->hold)
        f->held = change;
    else
        give_verdict(f, change);
}

static void give_answer(struct fixture *f, struct policy_question *question)
{
    struct policy_layers layers = {f->deny_always, f->allow_always, f->in_force};
    question->layers = policy_layers_ref(&layers);
    char text[IP_TEXT_MAX] = "";
    if (question->about == ABOUT_ADDRESS)
        ip_format(&question->addr, text);
    bool learned = !strcmp(text, FIXTURE_LEARNED), lost = !strcmp(text, FIXTURE_LOST);
    if (learned || lost)
        question->lease = (struct lease_info){question->addr, learned ? LEASE_LEARNED : LEASE_REVOKED,
                                              .seconds_left = 7, .names = "www.example"};
    if (question->about == ABOUT_HEALTH)
        f->healthy = !f->healthy;
    if (question->about == ABOUT_LEASES) {
        buf_puts(&question->leases, FIXTURE_LEASES);
        question->n_leases = 2;
    }
    question->answered(question);
}

static void on_ask(struct mail *mail, void *ctx)
{
    struct fixture *f = ctx;
    struct policy_question *question = (struct policy_question *)mail;
    question->mail.next = (struct mail *)f->asked; /* its first member */
    if (f->hold)
        f->asked = question;
    else
        give_answer(f, question);
    f->n_questions++;
}

static void on_release(struct mail *mail, void *ctx)
{
    struct fixture *f = ctx;
    struct policy_question *question;
    while ((question = f->asked)) {
        f->asked = (struct policy_question *)question->mail.next; /* its first member */
        give_answer(f, question);
    }
    struct policy_change *change = f->held;
    f->held = NULL;
    if (change)
        give_verdict(f, change);
}

static void on_end(struct mail *mail, void *ctx)
{
    struct fixture *f = ctx;
    loop_stop(f->loop);
}

static void hook_change(void *ctx, struct policy_change *change)
{
    struct fixture *f = ctx;
    change->mail.deliver = on_change;
    mailbox_post(f->mailbox, &change->mail);
}

static void hook_ask(void *ctx, struct policy_question *question)
{
    struct fixture *f = ctx;
    question->mail.deliver = on_ask;
    mailbox_post(f->mailbox, &question->mail);
}

static bool hook_healthy(void *ctx, struct why *why)
{
    struct fixture *f = ctx;
    if (!f->healthy)
        why_set(why, 0, "the table is gone");
    return f->healthy;
}

static bool hook_health_is_old(void *ctx)
{
    struct fixture *f = ctx;
    return f->health_is_old;
}

static bool hook_alive(void *ctx, struct why *why)
{
    struct fixture *f = ctx;
    if (f->hangs)
        why_set(why, 0, "the loop hangs");
    return !f->hangs;
}

static void hook_metrics(void *ctx, bool openmetrics, struct buf *out)
{
    buf_puts(out, openmetrics ? "openmetrics\n" : "text\n");
}

static void *daemon_main(void *arg)
{
    struct fixture *f = arg;
    loop_run(f->loop);
    return NULL;
}

void fixture_start(struct fixture *f, struct api_settings settings)
{
    memset(f, 0, sizeof(*f));
    f->healthy = true;
    f->release.deliver = on_release;
    f->end.deliver = on_end;
    ck_assert_int_eq(loop_new(&f->loop), 0);
    ck_assert_int_eq(mailbox_new(f->loop, f, &f->mailbox), 0);
    ck_assert_int_eq(pthread_create(&f->thread, NULL, daemon_main, f), 0);
    ck_assert_int_eq(log_new(1 << 20, LOG_DEBUG, &f->log), 0);

    struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(sin);
    settings.listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(settings.listen_fd, (struct sockaddr *)&sin, len), 0);
    ck_assert_int_eq(listen(settings.listen_fd, 256), 0);
    ck_assert_int_eq(getsockname(settings.listen_fd, (struct sockaddr *)&sin, &len), 0);
    settings.local_fd = -1;
    f->port = ntohs(sin.sin_port);

    static struct metrics counts;
    settings.metrics = f->metrics = &counts;
    if (!settings.enforcement_mode)
        settings.enforcement_mode = "dns+nft";
    struct api_hooks hooks = {.ctx = f,
                              .change = hook_change,
                              .ask = hook_ask,
                              .healthy = hook_healthy,
                              .health_is_old = hook_health_is_old,
                              .alive = hook_alive,
                              .metrics = hook_metrics};
    struct policy *initial = NULL;
    struct why why = {0};
    ck_assert_int_eq(rule_file_parse("deny.always", FIXTURE_DENY_ALWAYS, strlen(FIXTURE_DENY_ALWAYS), ACTION_DENY,
                                     false, &f->deny_always, &why),
                     0);
    ck_assert_int_eq(rule_file_parse("allow.always", FIXTURE_ALLOW_ALWAYS, strlen(FIXTURE_ALLOW_ALWAYS), ACTION_ALLOW,
                                     false, &f->allow_always, &why),
                     0);
    ck_assert_int_eq(policy_from_json("", 0, 0, &initial, &why), 0);
    ck_assert_msg(api_start(&settings, &hooks, initial, f->log, &f->api, &why) == 0, "%s", why.text);
    f->in_force = initial;
}

void fixture_stop(struct fixture *f)
{
    fixture_release(f);
    if (f->api)
        api_stop(f->api, 1000);
    mailbox_post(f->mailbox, &f->end);
    pthread_join(f->thread, NULL);
    mailbox_free(f->mailbox);
    loop_free(f->loop);
    policy_unref(f->in_force);
    policy_unref(f->deny_always);
    policy_unref(f->allow_always);
    log_free(f->log);
}

void fixture_hold(struct fixture *f)
{
    f->hold = true;
}

void fixture_release(struct fixture *f)
{
    f->hold = false;
    mailbox_post(f->mailbox, &f->release);
}

static void wait_count(atomic_uint *count, unsigned n)
{
    uint64_t limit = clock_monotonic_ns() + WAIT_S * NS_PER_S;
    while (*count < n && clock_monotonic_ns() < limit)
        usleep(1000);
    ck_assert_uint_eq(*count, n);
}

void fixture_wait_changes(struct fixture *f, unsigned n)
{
    wait_count(&f->n_changes, n);
}

void fixture_wait_questions(struct fixture *f, unsigned n)
{
    wait_count(&f->n_questions, n);
}

char *fixture_in_force(struct fixture *f)
{
    struct buf json = {0};
    policy_to_json(f->in_force, &json);
    return json.data;
}

static char *log_text(struct fixture *f)
{
    static const char *const levels[] = {"DEBUG", "INFO", "WARN", "ERROR", "FATAL"};
    static const char *const events[] = {"-", "loaded", "updated", "update_failed", "outbound", "denied", "api.denied"};
    struct buf text = {0};
    struct log_record record;
    buf_puts(&text, "");
    for (; log_peek(f->log, &record); log_pop(f->log)) {
        buf_printf(&text, "%s %s %s", levels[record.level], events[record.event], record.msg);
        struct log_field field;
        while (log_field_next(&record, &field)) {
            buf_printf(&text, " %s=", field.key);
            if (field.type == LOG_INT)
                buf_printf(&text, "%lld", (long long)field.integer);
            else if (field.type == LOG_DOUBLE)
                buf_puts(&text, field.number >= 0 && field.number < WAIT_S ? "SECONDS" : "NONSENSE");
            else
                buf_append(&text, field.data, field.len);
        }
        buf_putc(&text, '\n');
    }
    return text.data;
}

void fixture_expect_log(struct fixture *f, const char *text, bool there)
{
    api_stop(f->api, 1000);
    f->api = NULL;
    _cleanup_free_ char *log = log_text(f);
    ck_assert_msg((strstr(log, text) != NULL) == there, "'%s' in\n%s", text, log);
}

void fixture_expect_policy(const struct fixture *f, const char *body)
{
    client_expect(f, "GET", "/policy", NULL, 200, body);
}

/* --- the client --- */

int client_connect(const struct fixture *f)
{
    struct sockaddr_in sin = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(f->port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct timeval patience = {.tv_sec = WAIT_S};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
    return fd;
}

void client_send_raw(int fd, const void *data, size_t len)
{
    for (const char *at = data; len;) {
        ssize_t n = send(fd, at, len, MSG_NOSIGNAL);
        if (n < 0)
            return; /* the server has hung up: what it said is still to be read */
        at += n;
        len -= (size_t)n;
    }
}

void client_send(int fd, const char *method, const char *path, const char *extra, const void *body, size_t len)
{
    _cleanup_buf_ struct buf out = {0};
    buf_printf(&out, "%s %s HTTP/1.1\r\nHost: test\r\n%s", method, path, extra ? extra : "");
    if (body)
        buf_printf(&out, "Content-Length: %zu\r\n", len);
    buf_puts(&out, "\r\n");
    buf_append(&out, body, body ? len : 0);
    client_send_raw(fd, out.data, out.len);
}

struct answer client_read(int fd, bool head)
{
    struct answer answer = {0};
    size_t n = 0;
    for (; n < sizeof(answer.head) - 1 && !strstr(answer.head, "\r\n\r\n"); n++)
        if (recv(fd, answer.head + n, 1, 0) != 1)
            return answer;
    ck_assert_int_eq(sscanf(answer.head, "HTTP/1.1 %d", &answer.status), 1);
    if (answer.status == 100)
        return client_read(fd, head);
    char *value = answer_header(&answer, "Content-Length");
    size_t left = value && !head && answer.status != 304 ? strtoul(value, NULL, 10) : 0;
    free(value);
    buf_puts(&answer.body, "");
    while (left) {
        char piece[4096];
        ssize_t got = recv(fd, piece, left < sizeof(piece) ? left : sizeof(piece), 0);
        ck_assert_int_gt(got, 0);
        buf_append(&answer.body, piece, (size_t)got);
        left -= (size_t)got;
    }
    return answer;
}

struct answer client_call(const struct fixture *f, const char *method, const char *path, const char *extra,
                          const char *body)
{
    int fd = client_connect(f);
    client_send(fd, method, path, extra, body, body ? strlen(body) : 0);
    struct answer answer = client_read(fd, strcmp(method, "HEAD") == 0);
    close(fd);
    return answer;
}

void client_expect(const struct fixture *f, const char *method, const char *path, const char *body, int status,
                   const char *text)
{
    struct answer answer = client_call(f, method, path, NULL, body);
    ck_assert_msg(answer.status == status, "%s %s: status %d, not %d: %s", method, path, answer.status, status,
                  answer.body.data);
    ck_assert_str_eq(answer.body.data, text);
    buf_done(&answer.body);
}

void client_expect_answer(int fd, int status, const char *beginning)
{
    struct answer answer = client_read(fd, false);
    ck_assert_msg(answer.status == status, "status %d: %s", answer.status, answer.body.data);
    ck_assert_msg(strncmp(answer.body.data, beginning, strlen(beginning)) == 0, "%s", answer.body.data);
    buf_done(&answer.body);
}

void client_expect_end(int fd)
{
    char rest[512];
    ssize_t n = recv(fd, rest, sizeof(rest), 0);
    ck_assert_msg(n == 0 || (n < 0 && errno == ECONNRESET), "%.*s", (int)n, rest);
}

char *answer_header(const struct answer *answer, const char *name)
{
    size_t len = strlen(name);
    for (const char *line = strstr(answer->head, "\r\n"); line && line[2]; line = strstr(line + 2, "\r\n"))
        if (strncasecmp(line + 2, name, len) == 0 && line[2 + len] == ':') {
            const char *value = line + 3 + len + strspn(line + 3 + len, " ");
            return strndup(value, strcspn(value, "\r"));
        }
    return NULL;
}
