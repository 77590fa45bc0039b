#include "supervise.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/resident.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LOG_QUEUE 4096

struct supervisor {
    const struct supervise_settings *settings;
    struct backoff backoff;
    struct log *log;
    struct log_json json;
    int log_fd; /* -1: settings->log_fd itself */
    sigset_t awaited;
    pid_t child; /* 0: none runs */
    int status;  /* of the latest, once `child` is 0 */
    uint64_t started_ns;
    bool stopping;
};

DEFINE_CLEANUP(struct log, cleanup_log, log_free);

/* --- what it says --- */

/* A pipe is opened anew, so that not waiting for a reader stays our own affair: the flag belongs to the open file,
 * which the sidecar shares. */
static int open_output(int fd)
{
    struct stat stat;
    char path[32];
    if (fstat(fd, &stat) || !S_ISFIFO(stat.st_mode))
        return -1;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
}

/* One write a line, so that no line of the sidecar gets into it (a pipe keeps up to PIPE_BUF bytes together). */
static void flush(struct supervisor *supervisor)
{
    struct log_record record;
    int fd = supervisor->log_fd >= 0 ? supervisor->log_fd : supervisor->settings->log_fd;
    while (log_peek(supervisor->log, &record)) {
        _cleanup_buf_ struct buf line = {0};
        log_json_line(&supervisor->json, record, &line);
        log_pop(supervisor->log);
        struct pollfd ready = {.fd = fd, .events = POLLOUT};
        if (!line.failed && poll(&ready, 1, 0) == 1 && write(fd, line.data, line.len) < 0)
            return;
    }
}

static bool say(struct supervisor *supervisor, enum log_level level, const char *msg, const char *event)
{
    if (!log_begin(supervisor->log, level, LOG_PLAIN, msg))
        return false;
    log_str(supervisor->log, "opensandbox.event", event, strlen(event));
    return true;
}

static void said(struct supervisor *supervisor)
{
    log_end(supervisor->log);
    flush(supervisor);
}

static double seconds(uint64_t ns)
{
    uint64_t ms = ns / NS_PER_MS; /* the rest says nothing */
    return (double)ms / 1000;
}

static void say_started(struct supervisor *supervisor)
{
    if (!say(supervisor, LOG_INFO, "egress sidecar started", "egress.supervisor.start"))
        return;
    log_int(supervisor->log, "process.pid", supervisor->child);
    log_int(supervisor->log, "starts", supervisor->backoff.n_starts);
    said(supervisor);
}

/* An end that was asked for is no warning. */
static void say_ended(struct supervisor *supervisor, pid_t pid, uint64_t now)
{
    if (!say(supervisor, supervisor->stopping ? LOG_INFO : LOG_WARN, "egress sidecar ended", "egress.supervisor.exit"))
        return;
    log_int(supervisor->log, "process.pid", pid);
    if (WIFSIGNALED(supervisor->status))
        log_int(supervisor->log, "signal", WTERMSIG(supervisor->status));
    else
        log_int(supervisor->log, "process.exit.code", WEXITSTATUS(supervisor->status));
    log_double(supervisor->log, "uptime", seconds(now - supervisor->started_ns));
    said(supervisor);
}

static void say_waiting(struct supervisor *supervisor, uint64_t wait)
{
    if (!say(supervisor, LOG_WARN, "egress sidecar will be started again; the kernel's rules stay in place meanwhile",
             "egress.supervisor.backoff"))
        return;
    log_double(supervisor->log, "delay", seconds(wait));
    said(supervisor);
}

static void say_gave_up(struct supervisor *supervisor)
{
    if (!say(supervisor, LOG_ERROR, "egress sidecar ended too often and is not started again",
             "egress.supervisor.give_up"))
        return;
    log_int(supervisor->log, "starts", supervisor->backoff.limits.starts);
    log_double(supervisor->log, "window", seconds(supervisor->backoff.limits.window_ns));
    said(supervisor);
}

/* --- what it does --- */

/* A sidecar without its parent would hold the ports that the next one needs. What is handed on stays blocked, so that a
 * stop in its first moments waits until the sidecar looks for it, and is a stop, not a death. */
static void start_child(const struct supervise_settings *settings, pid_t parent)
{
    sigset_t child;
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) || getppid() != parent)
        _exit(EXIT_FAILURE);
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_UNBLOCK, &child, NULL);
    _exit(settings->become(settings->ctx));
}

static int start(struct supervisor *supervisor, struct why *why)
{
    pid_t parent = getpid(), child = fork();
    if (child < 0)
        return why_set(why, -errno, "fork: %s", strerrordesc_np(errno));
    if (!child)
        start_child(supervisor->settings, parent);
    supervisor->child = child;
    supervisor->started_ns = clock_monotonic_ns();
    backoff_started(&supervisor->backoff, supervisor->started_ns);
    say_started(supervisor);
    resident_trim(); /* nearly all of it is the sidecar's, and that one has its own */
    return 0;
}

/* All that ended: the sidecar, and orphans that fell to us as PID 1. */
static void reap(struct supervisor *supervisor)
{
    int status;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
        if (pid != supervisor->child)
            continue;
        supervisor->child = 0;
        supervisor->status = status;
        say_ended(supervisor, pid, clock_monotonic_ns());
    }
}

/* Waits for a signal until then (0: for ever) and does what it asks for. */
static void await(struct supervisor *supervisor, uint64_t until_ns)
{
    uint64_t now = clock_monotonic_ns(), left = until_ns > now ? until_ns - now : 0;
    struct timespec timeout = {.tv_sec = (time_t)(left / NS_PER_S), .tv_nsec = (long)(left % NS_PER_S)};
    int number = sigtimedwait(&supervisor->awaited, NULL, until_ns ? &timeout : NULL);
    if (number == SIGTERM || number == SIGINT)
        supervisor->stopping = true;
    if (number > 0 && number != SIGCHLD && supervisor->child)
        kill(supervisor->child, number);
    reap(supervisor);
}

static bool is_final(const struct supervisor *supervisor)
{
    const struct supervise_settings *settings = supervisor->settings;
    if (supervisor->stopping)
        return true;
    if (!WIFEXITED(supervisor->status))
        return false;
    if (WEXITSTATUS(supervisor->status) == 0) /* somebody asked the sidecar itself */
        return true;
    for (size_t i = 0; i < settings->n_final; i++)
        if (WEXITSTATUS(supervisor->status) == settings->final[i])
            return true;
    return false;
}

static enum supervise_end give_up(struct supervisor *supervisor, struct why *why)
{
    const struct backoff_limits *limits = &supervisor->backoff.limits;
    say_gave_up(supervisor);
    why_set(why, 0, "the sidecar ended too often: %u starts in %.0f s; the kernel's rules stay in place",
            limits->starts, seconds(limits->window_ns));
    return SUPERVISE_GAVE_UP;
}

static enum supervise_end run(struct supervisor *supervisor, int *ret_code, struct why *why)
{
    while (!supervisor->stopping) {
        if (start(supervisor, why))
            return SUPERVISE_IMPOSSIBLE;
        while (supervisor->child)
            await(supervisor, 0);
        if (is_final(supervisor)) {
            int status = supervisor->status;
            *ret_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
            return SUPERVISE_EXITED;
        }
        uint32_t random = 0; /* any number will do, this one too */
        uint64_t wait, now = clock_monotonic_ns();
        if (getrandom(&random, sizeof(random), GRND_NONBLOCK) < 0)
            random = 0;
        if (!backoff_ended(&supervisor->backoff, now, random, &wait))
            return give_up(supervisor, why);
        say_waiting(supervisor, wait);
        while (!supervisor->stopping && clock_monotonic_ns() < now + wait)
            await(supervisor, now + wait);
    }
    return SUPERVISE_STOPPED;
}

enum supervise_end supervise(const struct supervise_settings *settings, int *ret_code, struct why *why)
{
    _cleanup_(cleanup_log) struct log *log = NULL;
    _cleanup_close_ int log_fd = open_output(settings->log_fd);
    struct supervisor supervisor = {.settings = settings, .log_fd = log_fd};
    if (log_new(LOG_QUEUE, settings->log_level, &log) ||
        log_json_init(&supervisor.json, settings->attributes, settings->n_attributes)) {
        why_set(why, -ENOMEM, "out of memory");
        return SUPERVISE_IMPOSSIBLE;
    }
    supervisor.log = log;
    backoff_init(&supervisor.backoff, &settings->backoff);
    static const int signals[] = {SIGTERM, SIGINT, SIGHUP, SIGCHLD};
    sigemptyset(&supervisor.awaited);
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        sigaddset(&supervisor.awaited, signals[i]);
    sigprocmask(SIG_BLOCK, &supervisor.awaited, NULL);
    enum supervise_end end = run(&supervisor, ret_code, why);
    log_json_done(&supervisor.json);
    return end;
}
