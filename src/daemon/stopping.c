#include "daemon/state.h"

#include <errno.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

static void *stop_api(void *arg)
{
    struct daemon *daemon = arg;
    api_stop(daemon->api, STOP_TIMEOUT_MS); /* the loop goes on answering changes meanwhile */
    mailbox_post(daemon->mailbox, &daemon->api_gone);
    return NULL;
}

static void api_is_gone(struct mail *mail, void *ctx)
{
    struct daemon *daemon = ctx;
    pthread_join(daemon->stopper, NULL);
    daemon->api_stopped = true;
}

static void network_flushed(struct mail *mail, void *ctx)
{
    struct daemon *daemon = ctx;
    loop_stop(daemon->loop);
}

void daemon_post_flushed(void *ctx)
{
    struct daemon *daemon = ctx;
    daemon->flushed.deliver = network_flushed;
    mailbox_post(daemon->mailbox, &daemon->flushed);
}

/* Nobody is answered any more. What goes over the network may still have names to be resolved. */
static void flush_network(struct daemon *daemon)
{
    daemon->flushing = true;
    if (exporter_flush(daemon->exporter, FLUSH_TIMEOUT_MS)) /* a thread that hangs in a write says nothing */
        loop_timer_set(daemon->loop, &daemon->deadline, loop_now(daemon->loop) + (FLUSH_TIMEOUT_MS + 500) * NS_PER_MS);
    else
        loop_stop(daemon->loop);
}

/* At the end of each turn: is everything under way answered? */
static void stop_when_done(void *ctx)
{
    struct daemon *daemon = ctx;
    if (daemon->stopping && daemon->api_stopped && !daemon->flushing && !dns_proxy_busy(daemon->enforcer.proxy))
        flush_network(daemon);
}

static void deadline_fired(struct loop_timer *timer)
{
    struct daemon *daemon = timer->owner;
    if (daemon->flushing)
        loop_stop(daemon->loop);
    else if (daemon->api_stopped)
        flush_network(daemon);
    else /* api_stop() keeps the same limit and is about to return */
        loop_timer_set(daemon->loop, timer, loop_now(daemon->loop) + 100 * NS_PER_MS);
}

void daemon_stop(struct daemon *daemon)
{
    if (daemon->stopping)
        return;
    loop_timer_cancel(daemon->loop, &daemon->drain);
    daemon->stopping = true;
    dns_proxy_quiesce(daemon->enforcer.proxy);
    notify_ending(&daemon->notify);
    daemon->api_gone.deliver = api_is_gone;
    if (pthread_create(&daemon->stopper, NULL, stop_api, daemon))
        daemon->api_stopped = daemon->api_abandoned = true; /* the process ends around it */
    loop_timer_set(daemon->loop, &daemon->deadline, loop_now(daemon->loop) + STOP_TIMEOUT_MS * NS_PER_MS);
}

static void drained(struct loop_timer *timer)
{
    daemon_stop(timer->owner);
}

static void signal_ready(struct loop_source *source, uint32_t events)
{
    struct daemon *daemon = source->owner;
    struct signalfd_siginfo info;
    if (read(source->fd, &info, sizeof(info)) != sizeof(info))
        return;
    if (info.ssi_signo == SIGHUP) {
        exporter_reopen(daemon->exporter);
        watch_report(daemon->watch);
    } else if (!daemon->drain.heap_at && !daemon->stopping) {
        log_printf(daemon->log, LOG_INFO, "stopping: %s", info.ssi_signo == SIGINT ? "SIGINT" : "SIGTERM");
        loop_timer_set(daemon->loop, &daemon->drain, loop_now(daemon->loop) + daemon->config->drain_s * NS_PER_S);
        notify_stopping(&daemon->notify, daemon->config->drain_s + STOP_SECONDS_MAX);
    }
}

int daemon_stop_on_signals(struct daemon *daemon)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    signal(SIGPIPE, SIG_IGN);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    loop_on_turn_end(daemon->loop, stop_when_done, daemon);
    daemon->drain = (struct loop_timer){.fire = drained, .owner = daemon};
    daemon->deadline = (struct loop_timer){.fire = deadline_fired, .owner = daemon};
    daemon->signals = (struct loop_source){
        .fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK), .ready = signal_ready, .owner = daemon};
    return daemon->signals.fd < 0 ? -errno : loop_add(daemon->loop, &daemon->signals, EPOLLIN);
}
