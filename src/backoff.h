/* How long to wait before something that ended is started again, and when to give up. No clock of its own: times are
 * CLOCK_MONOTONIC in ns, handed in. */
#ifndef BACKOFF_H
#define BACKOFF_H

#include <stdbool.h>
#include <stdint.h>

#define BACKOFF_STARTS_MAX 32

struct backoff_limits {
    uint64_t first_ns, longest_ns; /* each wait is twice the one before, from the first to the longest; ±10 % */
    uint64_t good_ns;              /* a run that lasted so long begins with the first wait again */
    unsigned starts;               /* no more than so many (at most BACKOFF_STARTS_MAX) … */
    uint64_t window_ns;            /* … in such a time */
};

struct backoff {
    struct backoff_limits limits;
    uint64_t wait_ns;                     /* the next one, before it is varied; 0: the first */
    uint64_t started[BACKOFF_STARTS_MAX]; /* the latest starts; a ring */
    unsigned n_starts;                    /* in all */
};

/* 1 s to 30 s, anew after a run of 60 s, no more than 10 starts in 5 minutes. */
extern const struct backoff_limits backoff_of_sidecar;

void backoff_init(struct backoff *backoff, const struct backoff_limits *limits);
/* It starts now. */
void backoff_started(struct backoff *backoff, uint64_t now_ns);
/* It ended now, after backoff_started(). False: there were too many starts, give up; else how long to wait. `random` is
 * any number, which varies the wait so that sidecars that fall together do not rise together. */
bool backoff_ended(struct backoff *backoff, uint64_t now_ns, uint32_t random, uint64_t *ret_wait_ns);

#endif
