/* The event loop: epoll, timers, and turns. A turn dispatches one batch of ready descriptors and due timers, then runs
 * the end-of-turn hook, in which what the turn collected is committed at once (one netlink transaction, one send).
 * Everything here belongs to one thread. */
#ifndef BASE_LOOP_H
#define BASE_LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

struct loop;

/* Embedded in its owner; `ready` may remove or free its own source, or any other. */
struct loop_source {
    int fd;
    void (*ready)(struct loop_source *source, uint32_t events);
    void *owner;
    bool first; /* before the others of a turn: one socket for many, which a crowd of sockets must not hold up */
};

/* Embedded in its owner; fires once per loop_timer_set(). */
struct loop_timer {
    void (*fire)(struct loop_timer *timer);
    void *owner;
    uint64_t due_ns;
    int heap_at; /* 0 = not armed; private to loop.c */
};

int loop_new(struct loop **ret);
void loop_free(struct loop *loop);
/* `events` as for epoll (level-triggered). 0 or -errno. */
int loop_add(struct loop *loop, struct loop_source *source, uint32_t events);
int loop_modify(struct loop *loop, struct loop_source *source, uint32_t events);
/* Safe from within any callback: an event already collected for the source is not delivered any more. */
void loop_remove(struct loop *loop, struct loop_source *source);
/* Arms or moves the timer; `due_ns` is CLOCK_MONOTONIC. 0 or -ENOMEM. */
int loop_timer_set(struct loop *loop, struct loop_timer *timer, uint64_t due_ns);
void loop_timer_cancel(struct loop *loop, struct loop_timer *timer);
static inline bool loop_timer_is_set(const struct loop_timer *timer)
{
    return timer->heap_at;
}
/* Called in every turn in which something was ready that is `first`, behind all of these. */
void loop_on_first_done(struct loop *loop, void (*hook)(void *ctx), void *ctx);
/* Called at the end of every turn. */
void loop_on_turn_end(struct loop *loop, void (*hook)(void *ctx), void *ctx);
/* CLOCK_MONOTONIC, read once per turn. */
uint64_t loop_now(const struct loop *loop);
/* A source was given so much that more is likely to come within microseconds: behind this turn the loop looks again a
 * few times before it sleeps, see base/linger.h. */
void loop_expect_more(struct loop *loop);
/* Runs turns until loop_stop(), and may be called again then. 0 or -errno (epoll itself failed). */
int loop_run(struct loop *loop);
void loop_stop(struct loop *loop);

#define NS_PER_MS 1000000ull
#define NS_PER_S 1000000000ull
#define MS_PER_S 1000ull

uint64_t clock_monotonic_ns(void);
/* Since the epoch. */
uint64_t clock_realtime_ns(void);

#endif
