#include "base/linger.h"

#define US 1000ull
#define MS 1000000ull

#define LINGER_NS (200 * US)
/* Clients and upstreams have something to wait for and give the processor back before that, but for once or twice a
 * second; those that compute have it for a slice of the scheduler, 3 ms and more. */
#define LONG_NS (2 * MS)
#define LONG_WINDOW_NS (100 * MS)
#define LONG_MAX 3
#define PAUSE_FIRST_NS (50 * MS)
#define PAUSE_LONGEST_NS (1000 * MS)

void linger_begin(struct linger *linger, uint64_t now_ns)
{
    linger->until_ns = now_ns + LINGER_NS;
}

bool linger_lasts(const struct linger *linger, uint64_t now_ns)
{
    return now_ns < linger->until_ns && now_ns >= linger->crowded_until_ns;
}

static void pause_for_others(struct linger *linger, uint64_t now_ns)
{
    bool again = linger->pause_ns && now_ns - linger->crowded_until_ns < PAUSE_LONGEST_NS;
    linger->pause_ns = again ? linger->pause_ns * 2 : PAUSE_FIRST_NS;
    if (linger->pause_ns > PAUSE_LONGEST_NS)
        linger->pause_ns = PAUSE_LONGEST_NS;
    linger->crowded_until_ns = now_ns + linger->pause_ns;
    linger->n_long = 0;
}

void linger_yielded(struct linger *linger, uint64_t now_ns, uint64_t took_ns)
{
    if (took_ns < LONG_NS)
        return;
    if (!linger->n_long || now_ns - linger->long_since_ns > LONG_WINDOW_NS) {
        linger->long_since_ns = now_ns;
        linger->n_long = 0;
    }
    if (++linger->n_long == LONG_MAX)
        pause_for_others(linger, now_ns + took_ns);
}
