/* Which rule decides for an address: the prefixes sorted, each knowing the one around it. */
#ifndef POLICY_PREFIX_INDEX_H
#define POLICY_PREFIX_INDEX_H

#include "policy/policy.h"

/* A prefix that rules name. Two prefixes are disjoint or one lies within the other, so the nodes are a forest. */
struct prefix_node {
    struct ip_prefix prefix;
    uint32_t parent; /* the node of the smallest prefix around this one */
    uint32_t rank;   /* of the strongest rule for this prefix or one around it */
};

struct prefix_index {
    struct prefix_node *nodes;
    size_t n;
};

/* 0 or -ENOMEM. */
int prefix_index_init(struct prefix_index *index, const struct rule_list *rules);
void prefix_index_done(struct prefix_index *index);
/* The position of the rule that decides: the first deny that contains the address, else the first allow that does.
 * False when no rule does. */
bool prefix_index_find(const struct prefix_index *index, const struct ip_addr *addr, uint32_t *ret);

#endif
