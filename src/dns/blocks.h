/* Memory in blocks of one size, for byte strings of many sizes: no fragmentation, and a bound that holds to the byte.
 * A string is a chain of blocks, named by its first. Pure; the memory is the owner's. */
#ifndef DNS_BLOCKS_H
#define DNS_BLOCKS_H

#include <stddef.h>
#include <stdint.h>

#define BLOCK_DATA 124

struct block {
    uint32_t next; /* blocks count from 1; 0 is none */
    uint8_t data[BLOCK_DATA];
};

struct blocks {
    struct block *list; /* [0] is not used */
    uint32_t n, left;
    uint32_t fresh, free; /* never used from `fresh` on; given back */
};

/* Blocks that a string of that many bytes takes. */
static inline size_t blocks_for(size_t len)
{
    return (len + BLOCK_DATA - 1) / BLOCK_DATA;
}

/* `memory` has room for `n` + 1 blocks. */
void blocks_init(struct blocks *blocks, struct block *memory, uint32_t n);
/* An empty string of one block. There must be one left, and for what is appended, too. */
uint32_t blocks_begin(struct blocks *blocks);
/* Appends to a string of `*len` bytes whose last block is `*last`. */
void blocks_append(struct blocks *blocks, uint32_t *last, size_t *len, const void *data, size_t n);
/* Copies the first `len` bytes, of which there must be so many. */
void blocks_copy(const struct blocks *blocks, uint32_t first, uint8_t *to, size_t len);
void blocks_free(struct blocks *blocks, uint32_t first);

#endif
