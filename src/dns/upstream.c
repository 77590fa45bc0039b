#include "dns/upstream.h"

#define FAILURES_TO_DOWN 3
#define DOWN_NS 10000000000ull
#define STEP_NS 300000000ull       /* most answers of a recursive resolver come sooner */
#define STEP_ALONE_NS 900000000ull /* it may be at work */

void upstreams_init(struct upstreams *upstreams, const struct sock_addr *addrs, size_t n, uint64_t timeout_ns)
{
    uint64_t share = timeout_ns / (n + 1); /* each of them, and once more */
    uint64_t step = n > 1 ? STEP_NS : STEP_ALONE_NS;
    *upstreams = (struct upstreams){.n = n, .timeout_ns = timeout_ns, .step_ns = share < step ? share : step};
    for (size_t i = 0; i < n; i++)
        upstreams->list[i].addr = addrs[i];
}

size_t upstreams_healthy(const struct upstreams *upstreams)
{
    size_t healthy = 0;
    for (size_t i = 0; i < upstreams->n; i++)
        healthy += !upstreams->list[i].dropped && !upstreams->list[i].unhealthy;
    return healthy;
}

int upstreams_next(struct upstreams *upstreams, uint16_t tried, uint64_t now_ns)
{
    int down = -1;
    bool choosy = upstreams_healthy(upstreams);
    for (size_t i = 0; i < upstreams->n; i++) {
        struct upstream *upstream = &upstreams->list[i];
        if ((tried & 1u << i) || upstream->dropped || (choosy && upstream->unhealthy))
            continue;
        if (upstream->down_until_ns <= now_ns) {
            if (upstream->down_until_ns)
                upstream->down_until_ns = now_ns + DOWN_NS;
            return (int)i;
        }
        if (down < 0)
            down = (int)i;
    }
    return down;
}

void upstreams_answered(struct upstreams *upstreams, size_t i)
{
    upstreams->list[i].failures = 0;
    upstreams->list[i].down_until_ns = 0;
}

void upstreams_failed(struct upstreams *upstreams, size_t i, uint64_t now_ns)
{
    struct upstream *upstream = &upstreams->list[i];
    if (++upstream->failures >= FAILURES_TO_DOWN)
        upstream->down_until_ns = now_ns + DOWN_NS;
}

bool upstreams_probed(struct upstreams *upstreams, size_t i, bool healthy)
{
    bool news = upstreams->list[i].unhealthy == healthy;
    upstreams->list[i].unhealthy = !healthy;
    return news;
}

size_t upstreams_drop(struct upstreams *upstreams, size_t i)
{
    size_t left = 0;
    upstreams->list[i].dropped = true;
    for (size_t k = 0; k < upstreams->n; k++)
        left += !upstreams->list[k].dropped;
    return left;
}
