/* Parts of rules about frames, in the netdev family; see expr.h. */
#ifndef NFT_FRAME_EXPR_H
#define NFT_FRAME_EXPR_H

#include "nft/expr.h"

/* Bytes of the frame from its first one on, up to 16; its length. */
void match_frame(struct rule *rule, size_t offset, enum nft_cmp_ops op, const uint8_t *bytes, size_t size);
void match_frame_length(struct rule *rule, uint32_t length);
/* The frame has a route: it is a packet that the IP stack sends. */
void match_routed(struct rule *rule);
/* Counts what got here; the verdict is still to come. */
void rule_tallies(struct rule *rule);

#endif
