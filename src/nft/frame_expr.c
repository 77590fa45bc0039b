#include "nft/frame_expr.h"

#include "nft/expr_build.h"

void match_frame(struct rule *rule, size_t offset, enum nft_cmp_ops op, const uint8_t *bytes, size_t size)
{
    load_payload(rule, NFT_PAYLOAD_LL_HEADER, offset, size, NFT_REG_1);
    compare(rule, op, bytes, size);
}

void match_frame_length(struct rule *rule, uint32_t length)
{
    load_meta(rule, NFT_META_LEN, NFT_REG_1);
    compare(rule, NFT_CMP_EQ, &length, sizeof(length));
}

void match_routed(struct rule *rule)
{
    uint32_t lowest = 0;
    load_meta(rule, NFT_META_RTCLASSID, NFT_REG_1); /* ends the rule for packets without a route */
    compare(rule, NFT_CMP_GTE, &lowest, sizeof(lowest));
}

void rule_tallies(struct rule *rule)
{
    expr_begin(rule, "counter");
}
