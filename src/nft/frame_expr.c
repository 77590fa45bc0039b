#include "nft/frame_expr.h"

#include "nft/expr_build.h"

static void load_meta(struct rule *rule, enum nft_meta_keys key)
{
    expr_begin(rule, "meta");
    put_u32(rule, NFTNL_EXPR_META_KEY, key);
    put_u32(rule, NFTNL_EXPR_META_DREG, NFT_REG_1);
}

static void compare(struct rule *rule, enum nft_cmp_ops op, const void *data, size_t size)
{
    expr_begin(rule, "cmp");
    put_u32(rule, NFTNL_EXPR_CMP_SREG, NFT_REG_1);
    put_u32(rule, NFTNL_EXPR_CMP_OP, op);
    put(rule, NFTNL_EXPR_CMP_DATA, data, size);
}

void match_frame(struct rule *rule, size_t offset, enum nft_cmp_ops op, const uint8_t *bytes, size_t size)
{
    expr_begin(rule, "payload");
    put_u32(rule, NFTNL_EXPR_PAYLOAD_DREG, NFT_REG_1);
    put_u32(rule, NFTNL_EXPR_PAYLOAD_BASE, NFT_PAYLOAD_LL_HEADER);
    put_u32(rule, NFTNL_EXPR_PAYLOAD_OFFSET, (uint32_t)offset);
    put_u32(rule, NFTNL_EXPR_PAYLOAD_LEN, (uint32_t)size);
    compare(rule, op, bytes, size);
}

void match_frame_length(struct rule *rule, uint32_t length)
{
    load_meta(rule, NFT_META_LEN);
    compare(rule, NFT_CMP_EQ, &length, sizeof(length));
}

void match_routed(struct rule *rule)
{
    uint32_t lowest = 0;
    load_meta(rule, NFT_META_RTCLASSID); /* ends the rule for packets without a route */
    compare(rule, NFT_CMP_GTE, &lowest, sizeof(lowest));
}

void rule_tallies(struct rule *rule)
{
    expr_begin(rule, "counter");
}
