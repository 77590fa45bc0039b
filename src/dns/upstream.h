/* Which upstream resolver to ask next. Pure: remembers what was reported, knows no socket and no clock. */
#ifndef DNS_UPSTREAM_H
#define DNS_UPSTREAM_H

#include "base/ip.h"

#define UPSTREAMS_MAX 16

/* What it makes of the letters of a question's name (draft-vixie-dnsext-dns0x20). */
enum upstream_spelling {
    SPELLING_UNKNOWN,
    SPELLING_KEPT,   /* an answer had them as they were asked */
    SPELLING_CHANGED /* shown by an answer over TCP, which strangers cannot forge: its answers compare without case */
};

struct upstream {
    struct sock_addr addr;
    unsigned failures;      /* in a row */
    uint64_t down_until_ns; /* 0: believed to answer */
    bool dropped;           /* for good */
    bool unhealthy;         /* its latest probe failed */
    enum upstream_spelling spelling;
};

struct upstreams {
    struct upstream list[UPSTREAMS_MAX];
    size_t n;
    uint64_t timeout_ns; /* for one query over all upstreams together */
    uint64_t step_ns;    /* how long one upstream is awaited before the next is asked, too */
};

/* `n` is at most UPSTREAMS_MAX. */
void upstreams_init(struct upstreams *upstreams, const struct sock_addr *addrs, size_t n, uint64_t timeout_ns);
/* The first in order that is not in the bit mask `tried`, those believed down last; -1 when all were tried. One that
 * was down for its ten seconds gets one query to prove itself with. Unhealthy ones do not count while there are
 * others. */
int upstreams_next(struct upstreams *upstreams, uint16_t tried, uint64_t now_ns);
/* It answered, with whatever. */
void upstreams_answered(struct upstreams *upstreams, size_t i);
/* It did not answer, or could not be reached. After three times in a row it is asked last for ten seconds. */
void upstreams_failed(struct upstreams *upstreams, size_t i, uint64_t now_ns);
/* What its latest probe said. Returns whether that is news. */
bool upstreams_probed(struct upstreams *upstreams, size_t i, bool healthy);
/* How many are asked and did not fail their latest probe. */
size_t upstreams_healthy(const struct upstreams *upstreams);
/* It is never asked again. Returns how many are left. */
size_t upstreams_drop(struct upstreams *upstreams, size_t i);

#endif
