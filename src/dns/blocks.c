#include "dns/blocks.h"

#include <string.h>

void blocks_init(struct blocks *blocks, struct block *memory, uint32_t n)
{
    *blocks = (struct blocks){.list = memory, .n = n, .left = n, .fresh = 1};
}

uint32_t blocks_begin(struct blocks *blocks)
{
    uint32_t block = blocks->free;
    if (block)
        blocks->free = blocks->list[block].next;
    else
        block = blocks->fresh++;
    blocks->left--;
    blocks->list[block].next = 0;
    return block;
}

void blocks_append(struct blocks *blocks, uint32_t *last, size_t *len, const void *data, size_t n)
{
    const uint8_t *from = data;
    while (n) {
        size_t used = *len % BLOCK_DATA;
        if (*len && !used) {
            uint32_t block = blocks_begin(blocks);
            blocks->list[*last].next = block;
            *last = block;
        }
        size_t piece = n < BLOCK_DATA - used ? n : BLOCK_DATA - used;
        memcpy(blocks->list[*last].data + used, from, piece);
        from += piece;
        n -= piece;
        *len += piece;
    }
}

void blocks_copy(const struct blocks *blocks, uint32_t first, uint8_t *to, size_t len)
{
    for (; len > BLOCK_DATA; first = blocks->list[first].next, to += BLOCK_DATA, len -= BLOCK_DATA)
        memcpy(to, blocks->list[first].data, BLOCK_DATA);
    memcpy(to, blocks->list[first].data, len);
}

void blocks_free(struct blocks *blocks, uint32_t first)
{
    uint32_t last = first, n = 1;
    for (; blocks->list[last].next; last = blocks->list[last].next)
        n++;
    blocks->list[last].next = blocks->free;
    blocks->free = first;
    blocks->left += n;
}
