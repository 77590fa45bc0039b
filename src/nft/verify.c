#include "nft/verify.h"

#include "base/loop.h"
#include "nft/elements.h"
#include "nft/kept.h"
#include "nft/nft_policy.h"
#include "nft/sets.h"

#include <errno.h>
#include <linux/netfilter/nf_tables.h>
#include <string.h>

#define DOH_BLOCK "doh_block"
/* Between putting an element into a batch and the kernel's clock, and of a batch that was to be a second old. */
#define SLACK_NS (2 * NS_PER_S)

static const uint8_t families[] = {AF_INET, AF_INET6};

/* The sets of ranges: those of the policy, and one of the settings. NULL after the last. */
static const struct ip_ranges *ranged_set(const struct nft_settings *settings, const struct nft_policy *policy,
                                          size_t i, const char **ret_stem)
{
    static const struct ip_ranges none = {0};
    if (i < NFT_POLICY_SETS) {
        *ret_stem = nft_policy_stem(i);
        return settings->filter ? nft_policy_ranges(policy, i) : &none;
    }
    *ret_stem = DOH_BLOCK;
    return i == NFT_POLICY_SETS ? &settings->doh_blocklist : NULL;
}

bool verify_knows(const char *set)
{
    static const struct nft_settings settings = {0};
    static const struct nft_policy policy = {0};
    char name[SET_NAME_MAX];
    const char *stem;
    for (size_t i = 0; ranged_set(&settings, &policy, i, &stem); i++)
        for (size_t f = 0; f < 2; f++)
            if (!strcmp(set_name(stem, families[f], name), set))
                return true;
    return !strcmp(set, KEPT_SET); /* not compared: only a later start looks at it. The others have timeouts */
}

size_t verify_size(const struct nft_settings *settings, const struct nft_policy *policy, const struct changes *changes)
{
    size_t n = 0;
    const struct ip_ranges *ranges;
    const char *stem;
    for (size_t i = 0; (ranges = ranged_set(settings, policy, i, &stem)); i++)
        n += 2 * (ranges->n_v4 + ranges->n_v6);
    for (enum timed_set set = 0; set < N_TIMED_SETS; set++)
        n += leases_count(changes_leases(changes, set));
    return n;
}

/* What the elements of one set are compared with. */
struct comparison {
    const char *set;
    const struct ip_range *ranges;
    size_t n_ranges, n_found;
    struct changes *changes;
    enum timed_set timed;
    uint8_t family;
    uint64_t now_ns;
    bool differs;
    struct why *what;
};

static void tell(struct comparison *comparison, const struct ip_addr *addr, const char *what)
{
    char text[IP_TEXT_MAX];
    if (!comparison->differs)
        why_set(comparison->what, 0, "%s of set %s %s", addr ? ip_format(addr, text) : "elements", comparison->set,
                what);
    comparison->differs = true;
}

static bool read_address(const struct comparison *comparison, const struct element *element, struct ip_addr *ret)
{
    if (!element->key || element->size != ip_size(comparison->family))
        return false;
    *ret = comparison->family == AF_INET ? ip_from_v4(element->key) : ip_from_v6(element->key);
    return true;
}

/* Whether a range begins at the address or, for the end of an interval, has it as the first address outside. */
static bool is_edge(const struct comparison *comparison, const struct ip_addr *addr, bool is_end)
{
    size_t low = 0, high = comparison->n_ranges;
    while (low < high) { /* to the first range that is not wholly below the address */
        size_t middle = low + (high - low) / 2;
        if (ip_compare(&comparison->ranges[middle].last, addr) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    struct ip_addr end;
    if (is_end)
        return low > 0 && ip_next(&comparison->ranges[low - 1].last, &end) && ip_equal(&end, addr);
    return low < comparison->n_ranges && ip_equal(&comparison->ranges[low].first, addr);
}

static int take_edge(void *ctx, const struct element *element)
{
    struct comparison *comparison = ctx;
    struct ip_addr addr;
    if (!read_address(comparison, element, &addr))
        return 0;
    bool is_end = element->flags & NFT_SET_ELEM_INTERVAL_END;
    comparison->n_found++;
    if (!is_edge(comparison, &addr, is_end))
        tell(comparison, is_end ? NULL : &addr, "added");
    return 0;
}

static int list(struct conn *conn, struct comparison *comparison, int (*take)(void *ctx, const struct element *element),
                struct why *why)
{
    _Alignas(struct nlmsghdr) char room[128] = {0}; /* padding is sent, too */
    struct element_reader reader = {.take = take, .ctx = comparison};
    struct nlmsghdr *question = elements_question(room, comparison->set, NLM_F_DUMP);
    return conn_ask(conn, question, question->nlmsg_len, elements_read, &reader, why);
}

static int compare_ranges(struct conn *conn, struct comparison *comparison, struct why *why)
{
    struct ip_addr end;
    size_t n = 0;
    for (size_t i = 0; i < comparison->n_ranges; i++)
        n += ip_next(&comparison->ranges[i].last, &end) ? 2 : 1; /* none behind the highest address */
    int error = list(conn, comparison, take_edge, why);
    if (!error && comparison->n_found < n)
        tell(comparison, NULL, "deleted");
    return error;
}

static int take_lease(void *ctx, const struct element *element)
{
    struct comparison *comparison = ctx;
    struct ip_addr addr;
    if (!read_address(comparison, element, &addr))
        return 0;
    struct lease *lease = leases_find(changes_leases(comparison->changes, comparison->timed), &addr);
    uint64_t until = comparison->now_ns + element->timeout_ms * NS_PER_MS;
    uint64_t longest = timed_set_longest_ns(comparison->timed);
    if (!lease && !changes_were_dropped(comparison->changes, &addr)) /* else a packet may have put it back */
        tell(comparison, &addr, "added");
    else if (!element->timeout_ms || until > comparison->now_ns + longest + SLACK_NS ||
             (lease && until + SLACK_NS < lease->expires_ns))
        tell(comparison, &addr, "changed");
    if (lease)
        lease->change = 1;
    return 0;
}

static int compare_leases(struct conn *conn, struct comparison *comparison, struct why *why)
{
    struct leases *leases = changes_leases(comparison->changes, comparison->timed);
    struct lease *lease;
    for (size_t cursor = 0; (lease = leases_next(leases, &cursor));)
        lease->change = 0;
    int error = list(conn, comparison, take_lease, why);
    for (size_t cursor = 0; !error && (lease = leases_next(leases, &cursor));)
        if (!lease->change && lease->expires_ns > comparison->now_ns + SLACK_NS)
            tell(comparison, &lease->addr, "deleted");
    return error;
}

int verify_elements(struct conn *conn, const struct nft_settings *settings, const struct nft_policy *policy,
                    struct changes *changes, uint64_t now_ns, bool *ret_differs, struct why *what, struct why *why)
{
    bool differs = false;
    const struct ip_ranges *ranges;
    const char *stem;
    int error = 0;
    for (size_t i = 0; (ranges = ranged_set(settings, policy, i, &stem)) && !differs; i++) {
        for (size_t f = 0; f < 2 && !differs && !error; f++) {
            char name[SET_NAME_MAX];
            bool v4 = families[f] == AF_INET;
            struct comparison comparison = {.set = set_name(stem, families[f], name),
                                            .ranges = v4 ? ranges->v4 : ranges->v6,
                                            .n_ranges = v4 ? ranges->n_v4 : ranges->n_v6,
                                            .family = families[f],
                                            .what = what};
            error = compare_ranges(conn, &comparison, why);
            if (error == -ENOENT) /* the snapshot knows which sets there are to be */
                error = 0;
            else
                differs = comparison.differs;
        }
    }
    for (enum timed_set set = 0; settings->filter && set < N_TIMED_SETS && !differs && !error; set++) {
        struct comparison comparison = {.set = timed_set_name(set),
                                        .changes = changes,
                                        .timed = set,
                                        .family = set == ALLOW_V4 || set == REVOKED_V4 ? AF_INET : AF_INET6,
                                        .now_ns = now_ns,
                                        .what = what};
        error = compare_leases(conn, &comparison, why);
        differs = comparison.differs;
    }
    if (!error)
        *ret_differs = differs;
    return error;
}
