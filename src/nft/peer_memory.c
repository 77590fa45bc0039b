#include "nft/peer_memory.h"

#include "nft/elements.h"
#include "nft/peer_chains.h"
#include "nft/sets.h"

#include <errno.h>
#include <linux/netfilter/nf_tables.h>

struct carrier {
    struct elements elements;
    size_t key_size, n;
    uint64_t longest_ms;
};

static int carry(void *ctx, const struct element *element)
{
    struct carrier *carrier = ctx;
    if (!element->key || element->size != carrier->key_size || element->flags || !element->timeout_ms ||
        element->timeout_ms > carrier->longest_ms)
        return 0;
    if (++carrier->n > PEER_MEMORY_MAX)
        return -ENOSPC;
    elements_put(&carrier->elements,
                 &(struct element){.key = element->key, .size = element->size, .timeout_ms = element->timeout_ms});
    return 0;
}

void memory_carry(struct conn *conn, struct batch *batch, const char *set, size_t key_size, uint32_t longest_s)
{
    _Alignas(struct nlmsghdr) char room[128] = {0}; /* padding is sent, too */
    struct carrier carrier = {.elements = {.batch = batch, .type = NFT_MSG_NEWSETELEM, .set = set},
                              .key_size = key_size,
                              .longest_ms = (uint64_t)longest_s * 1000};
    struct element_reader reader = {.take = carry, .ctx = &carrier};
    struct nlmsghdr *question = elements_question(room, set, NLM_F_DUMP);
    conn_ask(conn, question, question->nlmsg_len, elements_read, &reader, NULL);
    elements_end(&carrier.elements);
}

void peer_memory_carry(struct conn *conn, struct batch *batch)
{
    static const uint8_t families[] = {AF_INET, AF_INET6};
    char name[SET_NAME_MAX];
    for (size_t i = 0; i < 4; i++)
        memory_carry(conn, batch, set_name(peer_sets[i / 2], families[i % 2], name), peer_key_size(families[i % 2]),
                     PEER_MEMORY_S);
}
