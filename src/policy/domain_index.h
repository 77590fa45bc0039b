/* Which rule decides for a name: one open-addressing hash table of lower-cased wire-format suffixes. */
#ifndef POLICY_DOMAIN_INDEX_H
#define POLICY_DOMAIN_INDEX_H

#include "policy/policy.h"

/* Positions in the list of rules; RULE_NONE is greater than every position. */
#define RULE_NONE UINT32_MAX

#define DOMAIN_SLOT_NAME 51

/* One cache line with all there is to know about a name: a lookup waits for memory once a suffix. */
struct domain_slot {
    uint32_t hash;                  /* the upper half */
    uint32_t exact;                 /* the first rule for this very name */
    uint32_t wildcard;              /* the first rule for all names below it */
    uint8_t len;                    /* 0: the slot is free */
    uint8_t name[DOMAIN_SLOT_NAME]; /* longer names are looked up in their rule */
};

struct domain_index {
    struct domain_slot *slots;
    size_t mask;
    const struct rule_list *rules;
    uint64_t seed;
    size_t max_labels;   /* of any name in the table: longer suffixes need not be looked up */
    uint32_t first_any;  /* the first rule for every name */
    uint32_t first_root; /* the first rule for the root itself */
};

/* `rules` must outlive the index. 0 or -ENOMEM. */
int domain_index_init(struct domain_index *index, const struct rule_list *rules);
void domain_index_done(struct domain_index *index);
/* The position of the first rule that matches the name, or RULE_NONE. `wire` is well-formed and lower-case. One pass
 * over the labels from the right; allocates nothing. */
uint32_t domain_index_find(const struct domain_index *index, const uint8_t *wire, size_t len);

#endif
