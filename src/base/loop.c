#include "base/loop.h"

#include "base/linger.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define EVENTS_PER_TURN 512 /* more than there are connections, so that `first` is known of all that is ready */

struct loop {
    int epoll_fd;
    bool stopped;
    bool more; /* is likely to come within microseconds */
    struct linger linger;
    uint64_t now_ns;
    struct epoll_event events[EVENTS_PER_TURN];
    int n_events;             /* collected and not yet delivered lie in events[..n_events] */
    struct loop_timer **heap; /* binary heap by due_ns, first element at 1 */
    int n_timers, cap_timers;
    void (*first_done)(void *ctx);
    void *first_done_ctx;
    void (*turn_end)(void *ctx);
    void *turn_end_ctx;
};

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec ts;
    clock_gettime(clock, &ts);
    return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

uint64_t clock_monotonic_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

uint64_t clock_realtime_ns(void)
{
    return clock_ns(CLOCK_REALTIME);
}

int loop_new(struct loop **ret)
{
    struct loop *loop = calloc(1, sizeof(*loop));
    if (!loop)
        return -ENOMEM;
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (loop->epoll_fd < 0) {
        int error = -errno;
        free(loop);
        return error;
    }
    loop->now_ns = clock_monotonic_ns();
    *ret = loop;
    return 0;
}

void loop_free(struct loop *loop)
{
    if (!loop)
        return;
    close(loop->epoll_fd);
    free(loop->heap);
    free(loop);
}

static int control(struct loop *loop, int op, struct loop_source *source, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = source};
    return epoll_ctl(loop->epoll_fd, op, source->fd, &event) ? -errno : 0;
}

int loop_add(struct loop *loop, struct loop_source *source, uint32_t events)
{
    return control(loop, EPOLL_CTL_ADD, source, events);
}

int loop_modify(struct loop *loop, struct loop_source *source, uint32_t events)
{
    return control(loop, EPOLL_CTL_MOD, source, events);
}

void loop_remove(struct loop *loop, struct loop_source *source)
{
    epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, source->fd, NULL);
    for (int i = 0; i < loop->n_events; i++)
        if (loop->events[i].data.ptr == source)
            loop->events[i].data.ptr = NULL;
}

static void place(struct loop *loop, struct loop_timer *timer, int at)
{
    loop->heap[at] = timer;
    timer->heap_at = at;
}

static void sift(struct loop *loop, struct loop_timer *timer, int at)
{
    while (at > 1 && loop->heap[at / 2]->due_ns > timer->due_ns) {
        place(loop, loop->heap[at / 2], at);
        at /= 2;
    }
    for (int child; (child = at * 2) <= loop->n_timers; at = child) {
        if (child < loop->n_timers && loop->heap[child + 1]->due_ns < loop->heap[child]->due_ns)
            child++;
        if (loop->heap[child]->due_ns >= timer->due_ns)
            break;
        place(loop, loop->heap[child], at);
    }
    place(loop, timer, at);
}

int loop_timer_set(struct loop *loop, struct loop_timer *timer, uint64_t due_ns)
{
    timer->due_ns = due_ns;
    if (!timer->heap_at) {
        if (loop->n_timers + 1 >= loop->cap_timers) {
            int cap = loop->cap_timers ? loop->cap_timers * 2 : 16;
            struct loop_timer **heap = realloc(loop->heap, (size_t)cap * sizeof(*heap));
            if (!heap)
                return -ENOMEM;
            loop->heap = heap;
            loop->cap_timers = cap;
        }
        timer->heap_at = ++loop->n_timers;
        loop->heap[timer->heap_at] = timer;
    }
    sift(loop, timer, timer->heap_at);
    return 0;
}

void loop_timer_cancel(struct loop *loop, struct loop_timer *timer)
{
    int at = timer->heap_at;
    if (!at)
        return;
    timer->heap_at = 0;
    struct loop_timer *last = loop->heap[loop->n_timers--];
    if (last != timer)
        sift(loop, last, at);
}

void loop_on_first_done(struct loop *loop, void (*hook)(void *ctx), void *ctx)
{
    loop->first_done = hook;
    loop->first_done_ctx = ctx;
}

void loop_on_turn_end(struct loop *loop, void (*hook)(void *ctx), void *ctx)
{
    loop->turn_end = hook;
    loop->turn_end_ctx = ctx;
}

uint64_t loop_now(const struct loop *loop)
{
    return loop->now_ns;
}

/* Milliseconds to wait, rounded up: a timer never fires early, and never in a busy loop of zero waits. */
static int wait_ms(const struct loop *loop, uint64_t now)
{
    if (!loop->n_timers)
        return -1;
    uint64_t due = loop->heap[1]->due_ns;
    if (due <= now)
        return 0;
    uint64_t ms = (due - now + NS_PER_MS - 1) / NS_PER_MS;
    return ms > 60000 ? 60000 : (int)ms;
}

/* No more than were armed when it begins: a timer that arms itself for now must not keep the sources waiting. */
static void fire_timers(struct loop *loop)
{
    for (int left = loop->n_timers; left > 0 && loop->n_timers; left--) {
        if (loop->heap[1]->due_ns > loop->now_ns)
            return;
        struct loop_timer *timer = loop->heap[1];
        loop_timer_cancel(loop, timer);
        timer->fire(timer);
    }
}

/* Whether there was any. */
static bool deliver(struct loop *loop, bool first)
{
    bool any = false;
    for (int i = 0; i < loop->n_events; i++) {
        struct loop_source *source = loop->events[i].data.ptr;
        if (source && source->first == first) {
            any = true;
            source->ready(source, loop->events[i].events);
        }
    }
    return any;
}

/* How long epoll may wait, in its milliseconds; not at all while the loop lingers, see base/linger.h. */
static int between_turns(struct loop *loop)
{
    uint64_t now = clock_monotonic_ns();
    if (loop->more)
        linger_begin(&loop->linger, now);
    loop->more = false;
    if (!linger_lasts(&loop->linger, now))
        return wait_ms(loop, now);
    sched_yield();
    linger_yielded(&loop->linger, now, clock_monotonic_ns() - now);
    return 0;
}

int loop_run(struct loop *loop)
{
    while (!loop->stopped) {
        int n = epoll_wait(loop->epoll_fd, loop->events, EVENTS_PER_TURN, between_turns(loop));
        if (n < 0 && errno != EINTR)
            return -errno;
        loop->now_ns = clock_monotonic_ns();
        loop->n_events = n > 0 ? n : 0;
        if (deliver(loop, true) && loop->first_done)
            loop->first_done(loop->first_done_ctx);
        deliver(loop, false);
        loop->n_events = 0;
        fire_timers(loop);
        if (loop->turn_end)
            loop->turn_end(loop->turn_end_ctx);
    }
    loop->stopped = false;
    return 0;
}

void loop_expect_more(struct loop *loop)
{
    loop->more = true;
}

void loop_stop(struct loop *loop)
{
    loop->stopped = true;
}
