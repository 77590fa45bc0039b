/* From one policy to another there is no moment in which an address meets what neither of them says, in whatever order
 * the kernel shows the parts of a transaction. */
#include "base/ip_ranges.h"
#include "nft/steps.h"
#include "random.h"
#include "runner.h"

#include <inttypes.h>
#include <string.h>

#define ROUNDS 10000
#define SPACE 8               /* addresses */
#define RULES NFT_POLICY_SETS /* the part of a transaction that is not a set of ranges */

/* What a name says of each address. */
enum learned_as { UNKNOWN, LEARNED, REVOKED };

struct world {
    struct nft_policy policy;
    enum learned_as learned[SPACE];
};

static struct ip_addr address(size_t i)
{
    return ip_from_v4((uint8_t[]){10, 0, 0, (uint8_t)i});
}

static struct ip_ranges random_ranges(struct random *random)
{
    struct ip_prefix prefixes[SPACE];
    struct ip_ranges ranges;
    size_t n = 0;
    for (size_t i = 0; i < SPACE; i++)
        if (random_below(random, 4) == 0)
            prefixes[n++] = (struct ip_prefix){address(i), 32};
    ck_assert_int_eq(ip_ranges_build(prefixes, n, &ranges), 0);
    return ranges;
}

static bool in_set(const struct nft_policy *policy, size_t set, size_t i)
{
    struct ip_addr addr = address(i);
    return ip_ranges_contain(nft_policy_ranges(policy, set), &addr);
}

/* The order of the chain `egress`. `rules` has the default and what was learned. */
static bool passes(const struct nft_policy *const sets[NFT_POLICY_SETS], const struct world *rules, size_t i)
{
    for (size_t set = 0; set < NFT_POLICY_SETS; set++) {
        if (set == NFT_POLICY_SETS - 1 && rules->learned[i] != UNKNOWN)
            return rules->learned[i] == LEARNED;
        if (in_set(sets[set], set, i))
            return nft_policy_allows(set);
    }
    return rules->policy.default_allow;
}

static bool passes_in(const struct world *world, size_t i)
{
    const struct nft_policy *sets[NFT_POLICY_SETS] = {&world->policy, &world->policy, &world->policy, &world->policy};
    return passes(sets, world, i);
}

static bool allowed_as_such(const struct nft_policy *policy, size_t i)
{
    return in_set(policy, 1, i) || in_set(policy, 3, i);
}

/* As revoke.c does it; which names are still allowed is chance. */
static bool relearn(struct random *random, const struct world *before, struct world *after)
{
    bool any = false;
    for (size_t i = 0; i < SPACE; i++) {
        enum learned_as was = before->learned[i], *now = &after->learned[i];
        bool as_such = allowed_as_such(&after->policy, i);
        *now = was;
        if (was == LEARNED && random_below(random, 2))
            *now = as_such ? UNKNOWN : REVOKED;
        else if (was == REVOKED && (as_such || random_below(random, 2)))
            *now = random_below(random, 2) ? LEARNED : UNKNOWN;
        any |= *now != was;
    }
    return any;
}

static bool sets_differ(const struct nft_policy *a, const struct nft_policy *b, size_t set)
{
    return !ip_ranges_within(nft_policy_ranges(a, set), nft_policy_ranges(b, set)) ||
           !ip_ranges_within(nft_policy_ranges(b, set), nft_policy_ranges(a, set));
}

static size_t parts_that_differ(const struct world *before, const struct world *after, bool learned)
{
    size_t n = learned || before->policy.default_allow != after->policy.default_allow;
    for (size_t set = 0; set < NFT_POLICY_SETS; set++)
        n += sets_differ(&before->policy, &after->policy, set);
    return n;
}

/* Every moment of one transaction: any of its parts are new already. */
static void check_moments(const struct world *before, const struct world *after, const struct world *from,
                          const struct world *to, const struct random *random, int round)
{
    for (unsigned shown = 0; shown < 1u << (RULES + 1); shown++) {
        const struct nft_policy *sets[NFT_POLICY_SETS];
        for (size_t set = 0; set < NFT_POLICY_SETS; set++)
            sets[set] = shown & 1u << set ? &to->policy : &from->policy;
        for (size_t i = 0; i < SPACE; i++) {
            bool now = passes(sets, shown & 1u << RULES ? to : from, i);
            if (now != passes_in(before, i) && now != passes_in(after, i)) /* an assertion costs more than all of it */
                ck_abort_msg("TEST_SEED=%" PRIu64 " round %d: address %zu is %s, moment %x", random->seed, round, i,
                             now ? "open" : "closed", shown);
        }
    }
}

static void random_world(struct random *random, struct world *world, const struct world *before)
{
    for (size_t set = 0; set < NFT_POLICY_SETS; set++) {
        /* Mostly few parts change. */
        struct ip_ranges ranges = before && random_below(random, 2) ? (struct ip_ranges){0} : random_ranges(random);
        if (before && !ranges.v4)
            ck_assert_int_eq(ip_ranges_join(nft_policy_ranges(&before->policy, set), &ranges, &ranges), 0);
        nft_policy_set_ranges(&world->policy, set, &ranges);
    }
    world->policy.default_allow =
        before && random_below(random, 2) ? before->policy.default_allow : random_below(random, 2);
}

START_TEST(every_moment_is_one_of_both)
{
    struct random random = random_new();
    for (int round = 0; round < ROUNDS; round++) {
        struct world before = {0}, after = {0};
        random_world(&random, &before, NULL);
        for (size_t i = 0; i < SPACE; i++)
            before.learned[i] =
                allowed_as_such(&before.policy, i) ? random_below(&random, 2) : random_below(&random, 3);
        random_world(&random, &after, &before);
        bool learned = random_below(&random, 2) && relearn(&random, &before, &after);
        if (!learned)
            memcpy(after.learned, before.learned, sizeof(after.learned));
        struct steps steps;
        ck_assert_int_eq(steps_plan(&before.policy, &after.policy, learned, &steps), 0);
        ck_assert_uint_ge(steps.n, 1);
        if (parts_that_differ(&before, &after, learned) <= 1)
            ck_assert_uint_eq(steps.n, 1);
        struct world from = before;
        for (size_t i = 0; i < steps.n; i++) {
            struct world to = from;
            to.policy = steps.to[i];
            if (i == steps.learned)
                memcpy(to.learned, after.learned, sizeof(to.learned));
            check_moments(&before, &after, &from, &to, &random, round);
            from = to;
        }
        for (size_t set = 0; set < NFT_POLICY_SETS; set++)
            ck_assert(!sets_differ(&from.policy, &after.policy, set));
        ck_assert_int_eq(from.policy.default_allow, after.policy.default_allow);
        /* Until then the new policy is not said to be in force. */
        if (!learned)
            ck_assert_uint_eq(steps.learned, steps.n - 1);
        steps_done(&steps);
        nft_policy_done(&before.policy);
        nft_policy_done(&after.policy);
    }
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("nft_steps");
    TCase *tests = tcase_create("steps");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, every_moment_is_one_of_both);
    suite_add_tcase(suite, tests);
    return suite;
}
