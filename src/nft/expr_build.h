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

/* Writes the rule's message and frees the rule. */
void rule_append(struct rule *rule);

#endif
