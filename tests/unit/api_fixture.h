/* A real API server on a loopback port, a fake daemon behind it (a loop thread that gives the verdicts), and an HTTP
 * client that can also misbehave. */
#ifndef TESTS_UNIT_API_FIXTURE_H
#define TESTS_UNIT_API_FIXTURE_H

#include "api/api.h"
#include "base/buf.h"

#include <pthread.h>
#include <stdatomic.h>

/* Bodies of answers. */
#define OK_BODY(mode) "{\"status\":\"ok\",\"mode\":\"" mode "\",\"enforcementMode\":\"dns+nft\"}\n"
#define POLICY_BODY(mode, egress, action)                                                                              \
    "{\"status\":\"ok\",\"mode\":\"" mode "\",\"enforcementMode\":\"dns+nft\",\"policy\":{\"egress\":[" egress         \
    "],\"defaultAction\":\"" action "\"}}\n"
#define ALLOW(target) "{\"action\":\"allow\",\"target\":\"" target "\"}"
#define DENY(target) "{\"action\":\"deny\",\"target\":\"" target "\"}"

/* What the fake kernel says a dry run would take away. */
#define FIXTURE_REVOKED "[{\"address\":\"192.0.2.1\"}]"
#define FIXTURE_FLOWS "[{\"protocol\":\"tcp\",\"peer\":\"192.0.2.1\",\"port\":443}]"

/* The always files of the fake daemon, and the addresses it has learned and revoked, for www.example, 7 s before their
 * end. */
#define FIXTURE_DENY_ALWAYS "bad.test\n10.6.6.6\n"
#define FIXTURE_ALLOW_ALWAYS "*.good.test\n10.0.0.0/8\n"
#define FIXTURE_LEARNED "192.0.2.1"
#define FIXTURE_LOST "192.0.2.2"
/* What it lists of them. */
#define FIXTURE_LEASES "{\"address\":\"192.0.2.1\"}"

struct fixture {
    struct api *api;
    struct log *log;
    struct metrics *metrics;
    uint16_t port;
    /* The fake daemon. */
    struct loop *loop;
    struct mailbox *mailbox;
    pthread_t thread;
    struct policy_change *held; /* its thread's */
    struct policy_question *asked;
    struct policy *deny_always, *allow_always;
    struct policy *in_force; /* its thread's until fixture_stop() */
    struct mail release, end;
    atomic_bool hold, healthy;
    atomic_bool health_is_old; /* whoever asks the loop then finds the opposite */
    atomic_bool hangs;
    atomic_int error; /* the next verdict but `fail_after` ones */
    atomic_uint fail_after;
    atomic_uint n_questions;
    atomic_uint n_changes; /* that arrived, dry runs not counted */
    atomic_uint n_settled; /* and of which the loop was told that they stay */
};

struct answer {
    int status; /* 0: the connection ended before an answer */
    char head[2048];
    struct buf body;
};

/* `settings.listen_fd` is filled here. */
void fixture_start(struct fixture *f, struct api_settings settings);
void fixture_stop(struct fixture *f);
/* While held, the daemon keeps verdicts to itself. */
void fixture_hold(struct fixture *f);
void fixture_release(struct fixture *f);
void fixture_wait_changes(struct fixture *f, unsigned n);
void fixture_wait_questions(struct fixture *f, unsigned n);
/* The policy the fake kernel has, as JSON; after api_stop() only. */
char *fixture_in_force(struct fixture *f);
/* Stops the API. Its log records, one a line as `LEVEL EVENT MSG key=value …`, must contain the text, or must not. */
void fixture_expect_log(struct fixture *f, const char *text, bool there);
/* GET must answer this. */
void fixture_expect_policy(const struct fixture *f, const char *body);

int client_connect(const struct fixture *f);
/* The request with a Content-Length when there is a body; `extra` are whole header lines. */
void client_send(int fd, const char *method, const char *path, const char *extra, const void *body, size_t len);
void client_send_raw(int fd, const void *data, size_t len);
/* The next answer on the connection; HEAD answers have no body. */
struct answer client_read(int fd, bool head);
/* The next answer must have this status and begin so. */
void client_expect_answer(int fd, int status, const char *beginning);
/* The server must have closed the connection, or does so within 10 s. */
void client_expect_end(int fd);
/* One request on a connection of its own. */
struct answer client_call(const struct fixture *f, const char *method, const char *path, const char *extra,
                          const char *body);
/* The same, and the answer must have this status and exactly this body. */
void client_expect(const struct fixture *f, const char *method, const char *path, const char *body, int status,
                   const char *text);
/* The value of a header of the answer, copied, or NULL. The caller frees. */
char *answer_header(const struct answer *answer, const char *name);

#endif
