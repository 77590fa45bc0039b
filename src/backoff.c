#include "backoff.h"

#include <assert.h>

#define S 1000000000ull

const struct backoff_limits backoff_of_sidecar = {
    .first_ns = S, .longest_ns = 30 * S, .good_ns = 60 * S, .starts = 10, .window_ns = 300 * S};

void backoff_init(struct backoff *backoff, const struct backoff_limits *limits)
{
    assert(limits->starts && limits->starts <= BACKOFF_STARTS_MAX);
    *backoff = (struct backoff){.limits = *limits};
}

void backoff_started(struct backoff *backoff, uint64_t now_ns)
{
    backoff->started[backoff->n_starts++ % backoff->limits.starts] = now_ns;
}

bool backoff_ended(struct backoff *backoff, uint64_t now_ns, uint32_t random, uint64_t *ret_wait_ns)
{
    const struct backoff_limits *limits = &backoff->limits;
    uint64_t latest = backoff->started[(backoff->n_starts - 1) % limits->starts];
    uint64_t wait = backoff->wait_ns;
    if (!wait || now_ns - latest >= limits->good_ns)
        wait = limits->first_ns;
    uint64_t varied = wait - wait / 10 + (uint64_t)random * (wait / 5) / UINT32_MAX;
    /* The ring's next place holds the oldest of the starts that count. */
    uint64_t oldest = backoff->started[backoff->n_starts % limits->starts];
    if (backoff->n_starts >= limits->starts && now_ns + varied - oldest < limits->window_ns)
        return false;
    backoff->wait_ns = wait * 2 < limits->longest_ns ? wait * 2 : limits->longest_ns;
    *ret_wait_ns = varied;
    return true;
}
