/* When a thread under load looks again before it sleeps.
 *
 * Whoever sends to a thread that sleeps has to wake it, which costs the sender a microsecond or two, and the scheduler
 * likes to wake a thread beside its waker, which then loses its processor. A thread that was given a lot a moment ago
 * does better to offer its processor to others, sched_yield(2), and to look again: until then more has come, and nobody
 * had to wake anyone. Where others compute all the time that is wrong, since each of them keeps the processor for
 * milliseconds: when that happens repeatedly the thread sleeps as usual for a while.
 *
 * No clock of its own: times are CLOCK_MONOTONIC in ns, handed in. Figures: docs/performance.md. */
#ifndef BASE_LINGER_H
#define BASE_LINGER_H

#include <stdbool.h>
#include <stdint.h>

struct linger {
    uint64_t until_ns;
    uint64_t crowded_until_ns, pause_ns; /* not before, and how long that was */
    uint64_t long_since_ns;              /* the first of the `n_long` long waits that are counted together */
    unsigned n_long;
};

/* A lot came just now. */
void linger_begin(struct linger *linger, uint64_t now_ns);
/* Whether to look again rather than sleep. */
bool linger_lasts(const struct linger *linger, uint64_t now_ns);
/* The processor was offered at `now_ns`, and had again after `took_ns`. */
void linger_yielded(struct linger *linger, uint64_t now_ns, uint64_t took_ns);

#endif
