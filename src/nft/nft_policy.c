#include "nft/nft_policy.h"

#include "base/ip_ranges.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *stem;
    size_t offset; /* of the ranges in struct nft_policy */
    bool allows;
} sets[NFT_POLICY_SETS] = {
    {"always_deny", offsetof(struct nft_policy, always_deny), false},
    {"always_allow", offsetof(struct nft_policy, always_allow), true},
    {"deny", offsetof(struct nft_policy, deny), false},
    {"allow", offsetof(struct nft_policy, allow), true},
};

const char *nft_policy_stem(size_t i)
{
    return sets[i].stem;
}

const struct ip_ranges *nft_policy_ranges(const struct nft_policy *policy, size_t i)
{
    return (const struct ip_ranges *)((const char *)policy + sets[i].offset);
}

void nft_policy_set_ranges(struct nft_policy *policy, size_t i, const struct ip_ranges *ranges)
{
    *(struct ip_ranges *)((char *)policy + sets[i].offset) = *ranges;
}

bool nft_policy_allows(size_t i)
{
    return sets[i].allows;
}

void nft_policy_done(struct nft_policy *policy)
{
    ip_ranges_done(&policy->always_deny);
    ip_ranges_done(&policy->always_allow);
    ip_ranges_done(&policy->deny);
    ip_ranges_done(&policy->allow);
}

/* One array for both families, as ip_ranges_done() wants it. */
static int copy_ranges(const struct ip_ranges *ranges, struct ip_ranges *ret)
{
    size_t n = ranges->n_v4 + ranges->n_v6;
    if (!n)
        return 0;
    struct ip_range *copy = calloc(n, sizeof(*copy));
    if (!copy)
        return -ENOMEM;
    if (ranges->n_v4)
        memcpy(copy, ranges->v4, ranges->n_v4 * sizeof(*copy));
    if (ranges->n_v6)
        memcpy(copy + ranges->n_v4, ranges->v6, ranges->n_v6 * sizeof(*copy));
    *ret = (struct ip_ranges){.v4 = copy, .v6 = copy + ranges->n_v4, .n_v4 = ranges->n_v4, .n_v6 = ranges->n_v6};
    return 0;
}

int nft_policy_copy(const struct nft_policy *policy, struct nft_policy *ret)
{
    struct nft_policy copy = {.default_allow = policy->default_allow};
    if (copy_ranges(&policy->always_deny, &copy.always_deny) ||
        copy_ranges(&policy->always_allow, &copy.always_allow) || copy_ranges(&policy->deny, &copy.deny) ||
        copy_ranges(&policy->allow, &copy.allow)) {
        nft_policy_done(&copy);
        return -ENOMEM;
    }
    *ret = copy;
    return 0;
}

bool nft_policy_denies(const struct nft_policy *policy, const struct ip_addr *addr)
{
    return ip_ranges_refuse(&policy->always_deny, addr) ||
           (!ip_ranges_contain(&policy->always_allow, addr) && ip_ranges_refuse(&policy->deny, addr));
}
