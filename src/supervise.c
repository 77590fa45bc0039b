#include "supervise.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/resident.h"
#include "notify.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LOG_QUEUE 4096
#define LOOKS_PER_SILENCE 4

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
    int signal_fd;
    int life_fd;     /* of the child's signs of life; -1: none are expected any more */
    bool has_lived;  /* there was one: its start is through */
    unsigned silent; /* looks in a row without one */
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

static void say_hung(struct supervisor *supervisor)
{
    if (!say(supervisor, LOG_ERROR, "egress sidecar gives no sign of life and is killed", "egress.supervisor.hang"))
        return;
    log_int(supervisor->log, "process.pid", supervisor->child);
    log_double(supervisor->log, "silence", seconds(supervisor->settings->silence_ns));
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
static void start_child(const struct supervise_settings *settings, pid_t parent, int life_fd)
{
    sigset_t child;
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) || getppid() != parent)
        _exit(EXIT_FAILURE);
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_UNBLOCK, &child, NULL);
    _exit(settings->become(settings->ctx, life_fd));
}

static int start(struct supervisor *supervisor, struct why *why)
{
    int life[2];
    if (pipe2(life, O_CLOEXEC | O_NONBLOCK))
        return why_set(why, -errno, "pipe: %s", strerrordesc_np(errno));
    pid_t parent = getpid(), child = fork();
    if (child < 0) {
        why_set(why, -errno, "fork: %s", strerrordesc_np(errno));
        close(life[0]);
        close(life[1]);
        return -EAGAIN;
    }
    if (!child)
        start_child(supervisor->settings, parent, life[1]);
    close(life[1]);
    supervisor->life_fd = life[0];
    supervisor->has_lived = false;
    supervisor->silent = 0;
    supervisor->child = child;
    supervisor->started_ns = clock_monotonic_ns();
    backoff_started(&supervisor->backoff, supervisor->started_ns);
    say_started(supervisor);
    resident_trim(); /* nearly all of it is the sidecar's, and that one has its own */
    return 0;
}

static void forget_life(struct supervisor *supervisor)
{
    cleanup_close(&supervisor->life_fd);
    supervisor->life_fd = -1;
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
        forget_life(supervisor);
        say_ended(supervisor, pid, clock_monotonic_ns());
    }
}

/* True when there was one. */
static bool hear_life(struct supervisor *supervisor)
{
    char signs[64];
    bool any = false;
    ssize_t n;
    while (supervisor->life_fd >= 0 && (n = read(supervisor->life_fd, signs, sizeof(signs))) != -1) {
        any |= n > 0;
        if (n == 0 || memchr(signs, LIFE_ENDS, (size_t)n))
            forget_life(supervisor);
    }
    return any;
}

/* After each LOOKS_PER_SILENCE-th part of the time allowed. Looks are counted, not the clock asked: when the whole
 * container was frozen, or this process had no processor, that is one look late and says nothing about the sidecar. */
static void look_for_life(struct supervisor *supervisor)
{
    uint64_t allowed = supervisor->settings->silence_ns;
    if (!supervisor->has_lived && allowed < SUPERVISE_START_NS)
        allowed = SUPERVISE_START_NS;
    if (hear_life(supervisor)) {
        supervisor->has_lived = true;
        supervisor->silent = 0;
    } else if (supervisor->child && supervisor->life_fd >= 0 && !supervisor->stopping &&
               ++supervisor->silent * (supervisor->settings->silence_ns / LOOKS_PER_SILENCE) >= allowed) {
        say_hung(supervisor);
        kill(supervisor->child, SIGKILL); /* also one that was stopped */
        forget_life(supervisor);
    }
}

static void take_signals(struct supervisor *supervisor)
{
    struct signalfd_siginfo info;
    while (read(supervisor->signal_fd, &info, sizeof(info)) == sizeof(info)) {
        int number = (int)info.ssi_signo;
        if (number == SIGTERM || number == SIGINT)
            supervisor->stopping = true;
        if (number != SIGCHLD && supervisor->child)
            kill(supervisor->child, number);
    }
}

static int ms_until(uint64_t then_ns)
{
    uint64_t now = clock_monotonic_ns();
    return then_ns > now ? (int)((then_ns - now) / NS_PER_MS) + 1 : 0;
}

/* Waits for a signal until then (0: for ever, while there is a child to be looked after) and does what it asks for. */
static void await(struct supervisor *supervisor, uint64_t until_ns)
{
    struct pollfd signals = {.fd = supervisor->signal_fd, .events = POLLIN};
    bool watches = supervisor->child && supervisor->life_fd >= 0 && supervisor->settings->silence_ns;
    uint64_t look_ns = clock_monotonic_ns() + supervisor->settings->silence_ns / LOOKS_PER_SILENCE;
    int wait_ms = until_ns ? ms_until(until_ns) : watches ? ms_until(look_ns) : -1;
    int n = poll(&signals, 1, wait_ms);
    if (n > 0)
        take_signals(supervisor);
    else if (n == 0 && watches)
        look_for_life(supervisor);
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
    struct supervisor supervisor = {.settings = settings, .log_fd = log_fd, .life_fd = -1};
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
    _cleanup_close_ int signal_fd = signalfd(-1, &supervisor.awaited, SFD_CLOEXEC | SFD_NONBLOCK);
    supervisor.signal_fd = signal_fd;
    if (signal_fd < 0) {
        why_set(why, -errno, "signalfd: %s", strerrordesc_np(errno));
        log_json_done(&supervisor.json);
        return SUPERVISE_IMPOSSIBLE;
    }
    enum supervise_end end = run(&supervisor, ret_code, why);
    log_json_done(&supervisor.json);
    return end;
}
