#include "nft/ended.h"

#include "base/loop.h"
#include "nft/elements.h"

#include <errno.h>
#include <linux/netfilter/nf_tables.h>

/* A packet that found the address just before the end and prolonged it just after has done so by now. */
#define OVER_NS NS_PER_S
/* Not sooner, so that many are asked about at once. */
#define BEGIN_NS (3 * NS_PER_S / 2)
#define QUESTIONS 64 /* the answers fit into the socket's buffer */
#define QUESTION_SIZE 128

struct asked {
    struct leases *leases;
    uint8_t family;
    bool revoked; /* prolonged by their far ends, which changes nothing about the names */
    uint64_t now_ns;
    struct lease *list[QUESTIONS]; /* held */
    size_t n;
};

static int take_answer(void *ctx, const struct element *element)
{
    const struct asked *asked = ctx;
    if (!element->key || element->size != ip_size(asked->family) || !element->timeout_ms)
        return 0;
    struct ip_addr addr = asked->family == AF_INET ? ip_from_v4(element->key) : ip_from_v6(element->key);
    struct lease *lease = leases_find(asked->leases, &addr);
    if (!lease || !lease_is_held(lease))
        return 0;
    uint64_t until = asked->now_ns + element->timeout_ms * NS_PER_MS;
    if (!asked->revoked) /* whose connections they were cannot be told */
        names_prolong(&lease->names, until);
    leases_release(asked->leases, lease, until);
    return 0;
}

static int ask(struct conn *conn, enum timed_set set, struct lease *const *leases, size_t n,
               struct element_reader *reader)
{
    _Alignas(struct nlmsghdr) uint8_t questions[QUESTIONS * QUESTION_SIZE] = {0}; /* padding is sent, too */
    size_t len = 0;
    for (size_t i = 0; i < n; i++) {
        struct nlmsghdr *nlh = elements_question(questions + len, timed_set_name(set), 0);
        struct nlattr *list = mnl_attr_nest_start(nlh, NFTA_SET_ELEM_LIST_ELEMENTS);
        struct nlattr *item = mnl_attr_nest_start(nlh, NFTA_LIST_ELEM);
        struct nlattr *key = mnl_attr_nest_start(nlh, NFTA_SET_ELEM_KEY);
        mnl_attr_put(nlh, NFTA_DATA_VALUE, ip_size(leases[i]->addr.family), leases[i]->addr.bytes);
        mnl_attr_nest_end(nlh, key);
        mnl_attr_nest_end(nlh, item);
        mnl_attr_nest_end(nlh, list);
        if (i + 1 == n)
            nlh->nlmsg_flags |= NLM_F_ACK;
        len += nlh->nlmsg_len;
    }
    int error = conn_ask(conn, questions, len, elements_read, reader, NULL);
    return error == -ENOENT ? 0 : error; /* some have ended */
}

/* Holds the next leases that are over. */
static void collect(struct asked *asked)
{
    asked->n = 0;
    for (struct lease *lease; asked->n < QUESTIONS && (lease = leases_soonest(asked->leases));) {
        if (lease->expires_ns + OVER_NS > asked->now_ns)
            return;
        leases_hold(asked->leases, lease);
        asked->list[asked->n++] = lease;
    }
}

/* Lets go of those that were held for nothing, or drops them. */
static int settle(struct changes *changes, enum timed_set set, struct asked *asked, bool drop)
{
    int error = 0;
    for (size_t i = 0; i < asked->n; i++) {
        struct lease *lease = asked->list[i];
        if (!lease_is_held(lease))
            continue;
        if (drop && !error)
            error = changes_end(changes, set, lease);
        if (!drop || error)
            leases_release(asked->leases, lease, lease->expires_ns);
    }
    return error;
}

int ended_settle(struct conn *conn, struct changes *changes, size_t at_most, uint64_t now_ns)
{
    for (enum timed_set set = 0; set < N_TIMED_SETS; set++) {
        struct asked asked = {.leases = changes_leases(changes, set),
                              .family = set == ALLOW_V4 || set == REVOKED_V4 ? AF_INET : AF_INET6,
                              .revoked = set == REVOKED_V4 || set == REVOKED_V6,
                              .now_ns = now_ns};
        for (size_t n = 0; n <= at_most; n += asked.n) {
            const struct lease *first = leases_soonest(asked.leases);
            if (!first || first->expires_ns + BEGIN_NS > now_ns)
                break;
            collect(&asked);
            struct element_reader reader = {.take = take_answer, .ctx = &asked};
            bool can_tell = !ask(conn, set, asked.list, asked.n, &reader);
            int error = settle(changes, set, &asked, can_tell);
            if (error)
                return error;
            if (!can_tell)
                break;
        }
    }
    return 0;
}

/* --- leases in hand --- */

struct prolonged {
    struct changes *changes;
    enum timed_set set;
    uint64_t now_ns;
    int error;
};

static int take_prolonged(void *ctx, const struct element *element)
{
    struct prolonged *prolonged = ctx;
    uint8_t family = prolonged->set == ALLOW_V4 ? AF_INET : AF_INET6;
    if (!element->key || element->size != ip_size(family) || !element->timeout_ms)
        return 0;
    struct ip_addr addr = family == AF_INET ? ip_from_v4(element->key) : ip_from_v6(element->key);
    struct lease *lease = leases_find(changes_leases(prolonged->changes, prolonged->set), &addr);
    uint64_t until = prolonged->now_ns + element->timeout_ms * NS_PER_MS;
    if (!lease || !lease_is_held(lease) || until <= lease->expires_ns + OVER_NS)
        return 0; /* as we wrote it */
    names_prolong(&lease->names, until);
    prolonged->error = changes_renew(prolonged->changes, prolonged->set, lease, until);
    return prolonged->error;
}

int ended_keep_prolonged(struct conn *conn, struct changes *changes, uint64_t now_ns)
{
    static const enum timed_set learned[] = {ALLOW_V4, ALLOW_V6};
    for (size_t s = 0; s < 2; s++) {
        struct prolonged prolonged = {.changes = changes, .set = learned[s], .now_ns = now_ns};
        struct element_reader reader = {.take = take_prolonged, .ctx = &prolonged};
        struct lease *list[QUESTIONS];
        size_t cursor = 0, n;
        while ((n = changes_renewals(changes, learned[s], &cursor, list, QUESTIONS)) > 0) {
            ask(conn, learned[s], list, n, &reader);
            if (prolonged.error)
                return prolonged.error;
            for (size_t i = 0; i < n; i++)
                names_drop_ended(&list[i]->names, now_ns);
        }
    }
    return 0;
}

struct one {
    uint64_t now_ns, until;
};

static int take_one(void *ctx, const struct element *element)
{
    struct one *one = ctx;
    one->until = element->timeout_ms ? one->now_ns + element->timeout_ms * NS_PER_MS : 0;
    return 0;
}

uint64_t ended_ask_one(struct conn *conn, const struct lease *lease, uint64_t now_ns)
{
    struct one one = {.now_ns = now_ns};
    struct element_reader reader = {.take = take_one, .ctx = &one};
    struct lease *list[] = {(struct lease *)(uintptr_t)lease};
    if (ask(conn, allow_set(lease->addr.family), list, 1, &reader))
        return 0;
    return one.until > lease->expires_ns + OVER_NS ? one.until : 0;
}
