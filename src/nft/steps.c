#include "nft/steps.h"

#include "base/ip_ranges.h"

#include <errno.h>

/* What a transaction does, if all of it does the same. */
enum direction { NOTHING, CLOSES, OPENS, BOTH };

struct way {
    struct steps *steps;
    struct nft_policy now; /* so far */
    enum direction direction;
    size_t n_moves, set; /* of the newest transaction; and what the last one changed */
};

/* Goes on with the newest transaction when `may_share`, else begins another, and returns where the policy is. */
static struct nft_policy *move(struct way *way, enum direction direction, bool may_share)
{
    if (!way->steps->n || !may_share) {
        way->steps->n++;
        way->n_moves = 0;
    }
    way->n_moves++;
    way->direction = direction;
    return &way->now;
}

static void moved(struct way *way)
{
    way->steps->to[way->steps->n - 1] = way->now;
}

static bool same(const struct ip_ranges *a, const struct ip_ranges *b)
{
    return ip_ranges_within(a, b) && ip_ranges_within(b, a);
}

static void move_set(struct way *way, size_t i, const struct ip_ranges *ranges, bool opens)
{
    enum direction direction = opens ? OPENS : CLOSES;
    if (same(nft_policy_ranges(&way->now, i), ranges))
        return;
    /* A set by itself changes from old to new at one moment. */
    bool swaps = way->n_moves == 1 && way->set == i && way->direction != BOTH;
    nft_policy_set_ranges(move(way, direction, way->direction == direction || swaps), i, ranges);
    way->set = i;
    if (swaps)
        way->direction = BOTH;
    moved(way);
}

/* Both sets of learned addresses and the default change with the rules, at one moment. */
static void move_rules(struct way *way, bool default_allow, bool learned)
{
    bool flips = way->now.default_allow != default_allow;
    enum direction direction = default_allow ? OPENS : CLOSES;
    if (flips) {
        /* What is given back to learned addresses must not come before what is refused. */
        bool shares = way->direction == direction && !(learned && direction == CLOSES);
        move(way, direction, shares)->default_allow = default_allow;
    } else if (learned) {
        move(way, CLOSES, false);
    }
    if (!flips && !learned)
        return;
    way->set = NFT_POLICY_SETS;
    way->steps->learned = way->steps->n - 1;
    if (learned && direction == OPENS && flips)
        way->direction = BOTH;
    moved(way);
}

/* Everything that is in the set before or afterwards. */
static int join(const struct ip_ranges *before, const struct ip_ranges *after, struct ip_ranges *store,
                struct ip_ranges *ret)
{
    if (ip_ranges_within(before, after)) {
        *ret = *after;
    } else if (ip_ranges_within(after, before)) {
        *ret = *before;
    } else {
        int error = ip_ranges_join(before, after, store);
        if (error)
            return error;
        *ret = *store;
    }
    return 0;
}

int steps_plan(const struct nft_policy *before, const struct nft_policy *after, bool learned, struct steps *ret)
{
    struct way way = {.steps = ret, .now = *before, .set = NFT_POLICY_SETS};
    *ret = (struct steps){0};
    for (size_t i = 0; i < NFT_POLICY_SETS; i++) {
        struct ip_ranges joined;
        if (join(nft_policy_ranges(before, i), nft_policy_ranges(after, i), &ret->joined[i], &joined)) {
            steps_done(ret);
            return -ENOMEM;
        }
        move_set(&way, i, &joined, nft_policy_allows(i));
    }
    move_rules(&way, after->default_allow, learned);
    for (size_t i = NFT_POLICY_SETS; i-- > 0;)
        move_set(&way, i, nft_policy_ranges(after, i), !nft_policy_allows(i));
    if (!ret->n)
        ret->to[ret->n++] = *after;
    if (!learned)
        ret->learned = ret->n - 1;
    return 0;
}

void steps_done(struct steps *steps)
{
    for (size_t i = 0; i < NFT_POLICY_SETS; i++)
        ip_ranges_done(&steps->joined[i]);
}
