#include "nft/expr_build.h"

void load_meta(struct rule *rule, enum nft_meta_keys key, enum nft_registers to)
{
    expr_begin(rule, "meta");
    put_u32(rule, NFTNL_EXPR_META_KEY, key);
    put_u32(rule, NFTNL_EXPR_META_DREG, to);
}

void load_payload(struct rule *rule, enum nft_payload_bases base, size_t offset, size_t size, enum nft_registers to)
{
    expr_begin(rule, "payload");
    put_u32(rule, NFTNL_EXPR_PAYLOAD_DREG, to);
    put_u32(rule, NFTNL_EXPR_PAYLOAD_BASE, base);
    put_u32(rule, NFTNL_EXPR_PAYLOAD_OFFSET, (uint32_t)offset);
    put_u32(rule, NFTNL_EXPR_PAYLOAD_LEN, (uint32_t)size);
}

void load_ct(struct rule *rule, enum nft_ct_keys key, enum nft_registers to)
{
    expr_begin(rule, "ct");
    put_u32(rule, NFTNL_EXPR_CT_KEY, key);
    put_u32(rule, NFTNL_EXPR_CT_DREG, to);
}

void compare(struct rule *rule, enum nft_cmp_ops op, const void *data, size_t size)
{
    expr_begin(rule, "cmp");
    put_u32(rule, NFTNL_EXPR_CMP_SREG, NFT_REG_1);
    put_u32(rule, NFTNL_EXPR_CMP_OP, op);
    put(rule, NFTNL_EXPR_CMP_DATA, data, size);
}
