#include "policy/prefix_index.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NO_PARENT UINT32_MAX
#define RANK_ALLOW (1u << 31) /* deny beats allow; below this bit lies the rule's position */

_Static_assert(RULES_MAX <= RANK_ALLOW, "a position must leave room for the action");

static int compare_nodes(const void *a, const void *b)
{
    const struct prefix_node *left = a, *right = b;
    int order = ip_compare(&left->prefix.addr, &right->prefix.addr);
    if (!order)
        order = (int)left->prefix.bits - (int)right->prefix.bits;
    return order ? order : (left->rank > right->rank) - (left->rank < right->rank);
}

/* Sorted nodes lose duplicates, get their parents, and the rank of whatever around them is stronger. */
static size_t link_nodes(struct prefix_node *nodes, size_t n)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        struct prefix_node node = nodes[i];
        uint32_t parent = kept ? (uint32_t)kept - 1 : NO_PARENT;
        while (parent != NO_PARENT && !ip_prefix_has(&nodes[parent].prefix, &node.prefix.addr))
            parent = nodes[parent].parent;
        if (parent != NO_PARENT && nodes[parent].prefix.bits == node.prefix.bits)
            continue; /* the same prefix again, and weaker: ranks are sorted */
        if (parent != NO_PARENT && nodes[parent].rank < node.rank)
            node.rank = nodes[parent].rank;
        node.parent = parent;
        nodes[kept++] = node;
    }
    return kept;
}

int prefix_index_init(struct prefix_index *index, const struct rule_list *rules)
{
    size_t n = 0;
    for (size_t i = 0; i < rule_list_count(rules); i++)
        n += rule_list_at(rules, i)->kind == TARGET_PREFIX;
    *index = (struct prefix_index){0};
    if (!n)
        return 0;
    index->nodes = calloc(n, sizeof(*index->nodes));
    if (!index->nodes)
        return -ENOMEM;
    for (size_t i = 0; i < rule_list_count(rules); i++) {
        const struct rule *rule = rule_list_at(rules, i);
        if (rule->kind == TARGET_PREFIX)
            index->nodes[index->n++] = (struct prefix_node){
                .prefix = rule->prefix, .rank = (uint32_t)i | (rule->action == ACTION_ALLOW ? RANK_ALLOW : 0)};
    }
    qsort(index->nodes, n, sizeof(*index->nodes), compare_nodes);
    index->n = link_nodes(index->nodes, n);
    return 0;
}

void prefix_index_done(struct prefix_index *index)
{
    free(index->nodes);
    *index = (struct prefix_index){0};
}

bool prefix_index_find(const struct prefix_index *index, const struct ip_addr *addr, uint32_t *ret)
{
    /* The last prefix that starts at or before the address, or one around it, is the smallest that can contain it. */
    size_t low = 0, high = index->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (ip_compare(&index->nodes[middle].prefix.addr, addr) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    uint32_t node = low ? (uint32_t)low - 1 : NO_PARENT;
    while (node != NO_PARENT && !ip_prefix_has(&index->nodes[node].prefix, addr))
        node = index->nodes[node].parent;
    if (node == NO_PARENT)
        return false;
    *ret = index->nodes[node].rank & ~RANK_ALLOW;
    return true;
}
