#include "nft/changes.h"

#include "base/loop.h"
#include "nft/dropped.h"
#include "nft/elements.h"

#include <errno.h>
#include <linux/netfilter/nf_tables.h>
#include <stdlib.h>
#include <string.h>

static const char *const set_names[N_TIMED_SETS] = {"dyn_allow_v4", "dyn_allow_v6", "revoked_v4", "revoked_v6"};

/* As many as an ordinary transaction has: their memory stays. */
#define ITEMS_KEPT 64

enum kind { ADD, RENEW, DROP };

struct change {
    struct lease *lease;
    uint64_t expires_ns;
    enum timed_set set;
    enum kind kind;
    bool ended;         /* DROP: it lost no permission */
    struct names names; /* RENEW: as they were before; the memory is kept for the next transaction */
};

struct changes {
    struct leases *sets[N_TIMED_SETS];
    uint32_t max;
    uint64_t evicted;
    struct change *items;
    size_t n, cap;
    size_t n_drops[N_TIMED_SETS], n_evictions;
    struct dropped dropped;
};

int changes_new(uint32_t max, uint64_t seed, struct changes **ret)
{
    struct changes *changes = calloc(1, sizeof(*changes));
    if (!changes)
        return -ENOMEM;
    changes->max = max;
    for (size_t i = 0; i < N_TIMED_SETS; i++) {
        if (leases_new(seed, &changes->sets[i])) {
            changes_free(changes);
            return -ENOMEM;
        }
    }
    *ret = changes;
    return 0;
}

/* Gives back the memory for names of all changes but the first ones. */
static void forget_names(struct changes *changes, size_t keep)
{
    for (size_t i = keep; i < changes->cap; i++)
        names_done(&changes->items[i].names);
}

void changes_free(struct changes *changes)
{
    if (!changes)
        return;
    for (size_t i = 0; i < N_TIMED_SETS; i++)
        leases_free(changes->sets[i]);
    dropped_done(&changes->dropped);
    forget_names(changes, 0);
    free(changes->items);
    free(changes);
}

const char *timed_set_name(enum timed_set set)
{
    return set_names[set];
}

uint64_t timed_set_longest_ns(enum timed_set set)
{
    return (set == ALLOW_V4 || set == ALLOW_V6 ? LEASE_MAX_S : REVOKED_S) * NS_PER_S;
}

uint32_t changes_max(const struct changes *changes)
{
    return changes->max;
}

struct leases *changes_leases(const struct changes *changes, enum timed_set set)
{
    return changes->sets[set];
}

uint64_t changes_evicted(const struct changes *changes)
{
    return changes->evicted;
}

size_t changes_count(const struct changes *changes)
{
    return changes->n;
}

/* Room for one more change. */
static int reserve(struct changes *changes)
{
    if (changes->n < changes->cap)
        return 0;
    size_t cap = changes->cap ? changes->cap * 2 : ITEMS_KEPT;
    struct change *items = realloc(changes->items, cap * sizeof(*items));
    if (!items)
        return -ENOMEM;
    memset(items + changes->cap, 0, (cap - changes->cap) * sizeof(*items));
    changes->items = items;
    changes->cap = cap;
    return 0;
}

static void append(struct changes *changes, enum kind kind, enum timed_set set, struct lease *lease,
                   uint64_t expires_ns)
{
    leases_hold(changes->sets[set], lease);
    lease->change = (uint32_t)changes->n;
    struct change *change = &changes->items[changes->n++];
    *change =
        (struct change){.lease = lease, .expires_ns = expires_ns, .set = set, .kind = kind, .names = change->names};
}

int changes_add(struct changes *changes, enum timed_set set, const struct ip_addr *addr, uint64_t expires_ns,
                struct lease **ret)
{
    if (reserve(changes) || leases_insert(changes->sets[set], addr, ret))
        return -ENOMEM;
    append(changes, ADD, set, *ret, expires_ns);
    return 0;
}

int changes_renew(struct changes *changes, enum timed_set set, struct lease *lease, uint64_t expires_ns)
{
    if (lease_is_held(lease)) {
        struct change *change = &changes->items[lease->change];
        if (change->expires_ns < expires_ns)
            change->expires_ns = expires_ns;
        return 0;
    }
    if (reserve(changes))
        return -ENOMEM;
    struct names *before = &changes->items[changes->n].names;
    names_clear(before);
    if (names_copy(&lease->names, before))
        return -ENOMEM;
    append(changes, RENEW, set, lease, expires_ns);
    return 0;
}

size_t changes_renewals(const struct changes *changes, enum timed_set set, size_t *cursor, struct lease **ret,
                        size_t max)
{
    size_t n = 0;
    for (; *cursor < changes->n && n < max; (*cursor)++)
        if (changes->items[*cursor].set == set && changes->items[*cursor].kind == RENEW)
            ret[n++] = changes->items[*cursor].lease;
    return n;
}

int changes_drop(struct changes *changes, enum timed_set set, struct lease *lease)
{
    if (reserve(changes))
        return -ENOMEM;
    append(changes, DROP, set, lease, 0);
    changes->n_drops[set]++;
    return 0;
}

int changes_end(struct changes *changes, enum timed_set set, struct lease *lease)
{
    int error = changes_drop(changes, set, lease);
    if (!error)
        changes->items[lease->change].ended = true;
    return error;
}

bool changes_revoke(const struct changes *changes)
{
    size_t i = 0;
    while (i < changes->n &&
           (changes->items[i].kind == DROP || changes->items[i].set == ALLOW_V4 || changes->items[i].set == ALLOW_V6))
        i++;
    return i < changes->n;
}

int changes_make_room(struct changes *changes)
{
    for (enum timed_set set = 0; set < N_TIMED_SETS; set++) {
        while (leases_count(changes->sets[set]) - changes->n_drops[set] > changes->max) {
            struct lease *lease = leases_soonest(changes->sets[set]);
            if (!lease)
                return -ENOSPC;
            if (changes_end(changes, set, lease))
                return -ENOMEM;
            changes->n_evictions += set == ALLOW_V4 || set == ALLOW_V6;
        }
    }
    return 0;
}

static struct element element_of(const struct lease *lease)
{
    return (struct element){.key = lease->addr.bytes, .size = ip_size(lease->addr.family)};
}

static void put_lease(struct elements *elements, const struct lease *lease, uint64_t expires_ns, uint64_t now_ns)
{
    char comment[COMMENT_MAX + 1];
    struct element element = element_of(lease);
    names_text(&lease->names, comment, sizeof(comment));
    element.comment = comment;
    element.timeout_ms = expires_ns > now_ns ? (expires_ns - now_ns + NS_PER_MS - 1) / NS_PER_MS : 1;
    elements_put(elements, &element);
}

/* Three runs. Deleting what is missing fails the whole transaction, and before Linux 6.12 adding what is there does not
 * prolong it; "add, delete" and "add, delete, add" are right in every case, and the latter replaces the comment. */
static void encode_set(const struct changes *changes, enum timed_set set, struct batch *batch, uint64_t now_ns)
{
    static const uint16_t twice[] = {NFT_MSG_NEWSETELEM, NFT_MSG_DELSETELEM};
    const struct change *end = changes->items + changes->n;
    struct elements elements = {.batch = batch, .set = set_names[set]};
    for (size_t i = 0; i < 2; i++) {
        elements.type = twice[i];
        for (const struct change *change = changes->items; change < end; change++) {
            struct element element = element_of(change->lease);
            if (change->set == set && change->kind != ADD)
                elements_put(&elements, &element);
        }
        elements_end(&elements);
    }
    elements.type = NFT_MSG_NEWSETELEM;
    for (const struct change *change = changes->items; change < end; change++)
        if (change->set == set && change->kind != DROP)
            put_lease(&elements, change->lease, change->expires_ns, now_ns);
    elements_end(&elements);
}

void changes_encode(const struct changes *changes, struct batch *batch, uint64_t now_ns)
{
    for (enum timed_set set = 0; set < N_TIMED_SETS; set++)
        encode_set(changes, set, batch, now_ns);
}

void changes_encode_all(const struct changes *changes, struct batch *batch, uint64_t now_ns)
{
    for (enum timed_set set = 0; set < N_TIMED_SETS; set++) {
        struct elements elements = {.batch = batch, .type = NFT_MSG_NEWSETELEM, .set = set_names[set]};
        size_t cursor = 0;
        for (struct lease *lease; (lease = leases_next(changes->sets[set], &cursor));)
            if (lease->expires_ns > now_ns)
                put_lease(&elements, lease, lease->expires_ns, now_ns);
        elements_end(&elements);
    }
}

static void reset(struct changes *changes)
{
    if (changes->n > ITEMS_KEPT)
        forget_names(changes, ITEMS_KEPT);
    changes->n = 0;
    changes->n_evictions = 0;
    for (size_t i = 0; i < N_TIMED_SETS; i++)
        changes->n_drops[i] = 0;
}

size_t changes_encode_again(const struct changes *changes, struct batch *batch)
{
    return dropped_encode_again(&changes->dropped, changes->sets[ALLOW_V4], changes->sets[ALLOW_V6], batch);
}

bool changes_were_dropped(const struct changes *changes, const struct ip_addr *addr)
{
    return dropped_has(&changes->dropped, addr);
}

void changes_again_done(struct changes *changes)
{
    dropped_again_done(&changes->dropped);
}

void changes_commit(struct changes *changes)
{
    for (size_t i = 0; i < changes->n; i++) {
        struct change *change = &changes->items[i];
        struct leases *leases = changes->sets[change->set];
        if (change->kind == DROP) {
            if (change->set == ALLOW_V4 || change->set == ALLOW_V6)
                dropped_add(&changes->dropped, &change->lease->addr, !change->ended);
            leases_remove(leases, change->lease);
            continue;
        }
        names_drop_denied(&change->lease->names);
        leases_release(leases, change->lease, change->expires_ns);
    }
    changes->evicted += changes->n_evictions;
    reset(changes);
}

void changes_roll_back(struct changes *changes)
{
    for (size_t i = 0; i < changes->n; i++) {
        struct change *change = &changes->items[i];
        struct leases *leases = changes->sets[change->set];
        if (change->kind == ADD) {
            leases_remove(leases, change->lease);
            continue;
        }
        if (change->kind == RENEW)
            names_swap(&change->lease->names, &change->names);
        names_unmark(&change->lease->names);
        leases_release(leases, change->lease, change->lease->expires_ns);
    }
    reset(changes);
}
