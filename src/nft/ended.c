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
    /* Whose connections they were cannot be told. */
    names_prolong(&lease->names, until);
    leases_release(asked->leases, lease, until);
    return 0;
}

static int ask(struct conn *conn, enum timed_set set, struct asked *asked)
{
    _Alignas(struct nlmsghdr) uint8_t questions[QUESTIONS * QUESTION_SIZE] = {0}; /* padding is sent, too */
    struct element_reader reader = {.take = take_answer, .ctx = asked};
    size_t len = 0;
    for (size_t i = 0; i < asked->n; i++) {
        struct nlmsghdr *nlh = elements_question(questions + len, timed_set_name(set), 0);
        struct nlattr *list = mnl_attr_nest_start(nlh, NFTA_SET_ELEM_LIST_ELEMENTS);
        struct nlattr *item = mnl_attr_nest_start(nlh, NFTA_LIST_ELEM);
        struct nlattr *key = mnl_attr_nest_start(nlh, NFTA_SET_ELEM_KEY);
        mnl_attr_put(nlh, NFTA_DATA_VALUE, ip_size(asked->family), asked->list[i]->addr.bytes);
        mnl_attr_nest_end(nlh, key);
        mnl_attr_nest_end(nlh, item);
        mnl_attr_nest_end(nlh, list);
        if (i + 1 == asked->n)
            nlh->nlmsg_flags |= NLM_F_ACK;
        len += nlh->nlmsg_len;
    }
    int error = conn_ask(conn, questions, len, elements_read, &reader, NULL);
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
            error = changes_drop(changes, set, lease);
        if (!drop || error)
            leases_release(asked->leases, lease, lease->expires_ns);
    }
    return error;
}

int ended_settle(struct conn *conn, struct changes *changes, size_t at_most, uint64_t now_ns)
{
    for (enum timed_set set = 0; set < N_TIMED_SETS; set++) {
        bool is_learned = set == ALLOW_V4 || set == ALLOW_V6; /* only these are prolonged by connections */
        struct asked asked = {.leases = changes_leases(changes, set),
                              .family = set == ALLOW_V4 || set == REVOKED_V4 ? AF_INET : AF_INET6,
                              .now_ns = now_ns};
        for (size_t n = 0; n <= at_most; n += asked.n) {
            const struct lease *first = leases_soonest(asked.leases);
            if (!first || first->expires_ns + BEGIN_NS > now_ns)
                break;
            collect(&asked);
            bool can_tell = !is_learned || !ask(conn, set, &asked);
            int error = settle(changes, set, &asked, can_tell);
            if (error)
                return error;
            if (!can_tell)
                break;
        }
    }
    return 0;
}
