#include "nft/peer_memory.h"

#include "nft/elements.h"
#include "nft/peer_chains.h"
#include "nft/sets.h"

#include <errno.h>
#include <linux/netfilter/nf_tables.h>

struct carrier {
    struct elements elements;
    size_t key_size, n;
};

static int carry(void *ctx, const struct element *element)
{
    struct carrier *carrier = ctx;
    if (!element->key || element->size != carrier->key_size || element->flags || !element->timeout_ms ||
        element->timeout_ms > PEER_MEMORY_S * 1000)
        return 0;
    if (++carrier->n > PEER_MEMORY_MAX)
        return -ENOSPC;
    elements_put(&carrier->elements,
                 &(struct element){.key = element->key, .size = element->size, .timeout_ms = element->timeout_ms});
    return 0;
}

void peer_memory_carry(struct conn *conn, struct batch *batch)
{
    static const uint8_t families[] = {AF_INET, AF_INET6};
    for (size_t i = 0; i < 4; i++) {
        _Alignas(struct nlmsghdr) char room[128] = {0}; /* padding is sent, too */
        char name[SET_NAME_MAX];
        set_name(peer_sets[i / 2], families[i % 2], name);
        struct carrier carrier = {.elements = {.batch = batch, .type = NFT_MSG_NEWSETELEM, .set = name},
                                  .key_size = peer_key_size(families[i % 2])};
        struct element_reader reader = {.take = carry, .ctx = &carrier};
        struct nlmsghdr *question = elements_question(room, name, NLM_F_DUMP);
        conn_ask(conn, question, question->nlmsg_len, elements_read, &reader, NULL);
        elements_end(&carrier.elements);
    }
}
