#include "nft/restore.h"

#include "base/loop.h"
#include "nft/elements.h"
#include "nft/plan.h"
#include "nft/sets.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libnftnl/common.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdlib.h>
#include <string.h>

#define TRIES 10 /* while others change the rule set */

/* All elements of a set; none when it is absent. -EINTR: those taken are not all of one moment. */
static int read_set(struct conn *conn, const char *set, struct element_reader *reader, struct why *why)
{
    _Alignas(struct nlmsghdr) char room[128] = {0}; /* padding is sent, too */
    struct nlmsghdr *question = elements_question(room, set, NLM_F_DUMP);
    int error = conn_ask(conn, question, question->nlmsg_len, elements_read, reader, why);
    return error == -ENOENT ? 0 : error;
}

struct lease_reader {
    struct leases *leases;
    uint8_t family;
    bool revoked;
    uint32_t max;
    uint64_t now_ns, longest_ns;
};

static int take_lease(void *ctx, const struct element *element)
{
    const struct lease_reader *reader = ctx;
    if (!element->key || element->size != ip_size(reader->family) || element->flags || !element->timeout_ms)
        return 0;
    if (!element->comment && !reader->revoked) /* flows that were allowed by their address are revoked without a name */
        return 0;
    struct ip_addr addr = reader->family == AF_INET ? ip_from_v4(element->key) : ip_from_v6(element->key);
    uint64_t left =
        element->timeout_ms < reader->longest_ns / NS_PER_MS ? element->timeout_ms * NS_PER_MS : reader->longest_ns;
    struct lease *lease;
    if (leases_find(reader->leases, &addr)) /* a set that grows while it is listed may show an element twice */
        return 0;
    int error = leases_insert(reader->leases, &addr, &lease);
    if (error)
        return error;
    /* How long a name of a revoked address would have held is not written anywhere: it has ended. */
    if (element->comment)
        error = names_from_text(element->comment, reader->now_ns + (reader->revoked ? 0 : left), &lease->names);
    if (error) {
        leases_remove(reader->leases, lease);
        return error == -EINVAL ? 0 : error;
    }
    leases_release(reader->leases, lease, reader->now_ns + left);
    if (leases_count(reader->leases) > reader->max)
        leases_remove(reader->leases, leases_soonest(reader->leases));
    return 0;
}

static void forget_all(struct leases *leases)
{
    for (struct lease *lease; (lease = leases_soonest(leases));)
        leases_remove(leases, lease);
}

int restore_leases(struct conn *conn, struct changes *changes, uint64_t now_ns, struct why *why)
{
    for (enum timed_set set = 0; set < N_TIMED_SETS; set++) {
        struct lease_reader leases = {.leases = changes_leases(changes, set),
                                      .family = set == ALLOW_V4 || set == REVOKED_V4 ? AF_INET : AF_INET6,
                                      .max = changes_max(changes),
                                      .revoked = set == REVOKED_V4 || set == REVOKED_V6,
                                      .now_ns = now_ns,
                                      .longest_ns = timed_set_longest_ns(set)};
        struct element_reader reader = {.take = take_lease, .ctx = &leases};
        int error = -EINTR;
        for (size_t i = 0; i < TRIES && error == -EINTR; i++) {
            forget_all(leases.leases);
            error = read_set(conn, timed_set_name(set), &reader, why);
        }
        if (error)
            return error;
    }
    return 0;
}

struct upstream_reader {
    struct sock_addr *list; /* family 0: no upstream has this place yet */
    size_t max;
    uint8_t family;
};

static int take_upstream(void *ctx, const struct element *element)
{
    struct upstream_reader *reader = ctx;
    struct sock_addr upstream;
    char *end;
    if (!element->comment || !endpoint_from_key(element->key, element->size, reader->family, &upstream) ||
        !sock_addr_port(&upstream))
        return 0;
    unsigned long place = strtoul(element->comment, &end, 10);
    if (*end == '%' && reader->family == AF_INET6)
        upstream.in6.sin6_scope_id = (uint32_t)strtoul(end + 1, &end, 10);
    if (end != element->comment && !*end && place < reader->max)
        reader->list[place] = upstream;
    return 0;
}

int restore_upstreams(struct conn *conn, struct sock_addr *ret, size_t max, size_t *ret_n, struct why *why)
{
    static const uint8_t families[] = {AF_INET, AF_INET6};
    int error = -EINTR;
    for (size_t i = 0; i < TRIES && error == -EINTR; i++) {
        memset(ret, 0, max * sizeof(*ret));
        error = 0;
        for (size_t f = 0; f < 2 && !error; f++) {
            char name[SET_NAME_MAX];
            struct upstream_reader upstreams = {.list = ret, .max = max, .family = families[f]};
            struct element_reader reader = {.take = take_upstream, .ctx = &upstreams};
            error = read_set(conn, set_name("upstream", families[f], name), &reader, why);
        }
    }
    if (error)
        return error;
    size_t n = 0;
    for (size_t i = 0; i < max; i++)
        if (ret[i].sa.sa_family)
            ret[n++] = ret[i];
    *ret_n = n;
    return 0;
}

static int take_policy(void *ctx, const struct nlmsghdr *answer)
{
    uint32_t *policy = ctx;
    const struct nlattr *attr;
    mnl_attr_for_each(attr, answer, sizeof(struct nfgenmsg))
    {
        if (mnl_attr_get_type(attr) == NFTA_CHAIN_POLICY && mnl_attr_validate(attr, MNL_TYPE_U32) >= 0)
            *policy = ntohl(mnl_attr_get_u32(attr));
    }
    return 0;
}

/* -ENOENT when the table or the chain is not there. */
static int ask_chain(struct conn *conn, const char *chain, uint32_t *policy)
{
    _Alignas(struct nlmsghdr) char room[128] = {0};
    struct nlmsghdr *question = nftnl_nlmsg_build_hdr(room, NFT_MSG_GETCHAIN, NFPROTO_INET, NLM_F_ACK, 0);
    mnl_attr_put_strz(question, NFTA_CHAIN_TABLE, NFT_TABLE);
    mnl_attr_put_strz(question, NFTA_CHAIN_NAME, chain);
    return conn_ask(conn, question, question->nlmsg_len, take_policy, policy, NULL);
}

int restore_is_open(struct conn *conn, bool *ret, struct why *why)
{
    uint32_t policy = NF_ACCEPT, ignored;
    int error = ask_chain(conn, "egress", &policy);
    if (!error)
        error = ask_chain(conn, "fallback", &ignored); /* not in a closed sandbox */
    if (error && error != -ENOENT)
        return why_set(why, error, "cannot ask for the rules in place: %s", strerror(-error));
    *ret = error || policy == NF_ACCEPT;
    return 0;
}

int restore_is_audit(struct conn *conn, bool *ret, struct why *why)
{
    uint32_t ignored;
    int error = ask_chain(conn, "dns", &ignored); /* not in a closed sandbox */
    bool is_ours = !error;
    if (is_ours)
        error = ask_chain(conn, "forged", &ignored); /* in every mode but audit */
    if (error && error != -ENOENT)
        return why_set(why, error, "cannot ask for the rules in place: %s", strerror(-error));
    *ret = is_ours && error;
    return 0;
}

static int take_search(void *ctx, const struct element *element)
{
    struct search_text *search = ctx;
    uint16_t number;
    char *end;
    if (!element->key || element->size != sizeof(number) || !element->comment ||
        strlen(element->comment) >= SEARCH_TEXT_MAX)
        return 0;
    memcpy(&number, element->key, sizeof(number));
    number = ntohs(number);
    if (number < SEARCH_TEXT_NAMES) {
        strcpy(search->names[number], element->comment);
    } else if (number == SEARCH_TEXT_NAMES && !strncmp(element->comment, PLAN_NDOTS, strlen(PLAN_NDOTS))) {
        search->ndots = (unsigned)strtoul(element->comment + strlen(PLAN_NDOTS), &end, 10);
        search->n = *end ? 0 : SEARCH_TEXT_NAMES; /* found */
    }
    return 0;
}

int restore_search(struct conn *conn, struct search_text *ret, bool *ret_found, struct why *why)
{
    struct element_reader reader = {.take = take_search, .ctx = ret};
    int error = -EINTR;
    for (size_t i = 0; i < TRIES && error == -EINTR; i++) {
        memset(ret, 0, sizeof(*ret));
        error = read_set(conn, PLAN_SEARCH_SET, &reader, why);
    }
    if (error)
        return error;
    *ret_found = ret->n > 0;
    ret->n = 0;
    for (size_t i = 0; i < SEARCH_TEXT_NAMES; i++)
        if (ret->names[i][0])
            memmove(ret->names[ret->n++], ret->names[i], SEARCH_TEXT_MAX);
    return 0;
}
