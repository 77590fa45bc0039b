/* How files that make expressions of rules do it; everyone else takes expr.h and peer_expr.h. */
#ifndef NFT_EXPR_BUILD_H
#define NFT_EXPR_BUILD_H

#include "nft/expr.h"

#include <libnftnl/expr.h>
#include <libnftnl/rule.h>

/* Begins another expression, which put(), put_u32() and put_text() then fill. */
static inline void expr_begin(struct rule *rule, const char *kind)
{
    rule->expr = rule->object ? nftnl_expr_alloc(kind) : NULL;
    if (rule->expr)
        nftnl_rule_add_expr(rule->object, rule->expr);
    else
        batch_fail(rule->batch);
}

static inline void put(struct rule *rule, uint16_t type, const void *data, size_t size)
{
    if (rule->expr && nftnl_expr_set(rule->expr, type, data, (uint32_t)size))
        batch_fail(rule->batch);
}

static inline void put_u32(struct rule *rule, uint16_t type, uint32_t value)
{
    put(rule, type, &value, sizeof(value));
}

static inline void put_text(struct rule *rule, uint16_t type, const char *text)
{
    if (rule->expr && nftnl_expr_set_str(rule->expr, type, text))
        batch_fail(rule->batch);
}

/* Into a register: NFT_REG_1, which holds 16 bytes, or for the parts of a key those of four bytes from NFT_REG32_00 on,
 * which are NFT_REG_1 again. */
void load_meta(struct rule *rule, enum nft_meta_keys key, enum nft_registers to);
void load_payload(struct rule *rule, enum nft_payload_bases base, size_t offset, size_t size, enum nft_registers to);
void load_ct(struct rule *rule, enum nft_ct_keys key, enum nft_registers to);
/* With what NFT_REG_1 holds. */
void compare(struct rule *rule, enum nft_cmp_ops op, const void *data, size_t size);

#endif
