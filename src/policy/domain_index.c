#include "policy/domain_index.h"

#include "policy/hash.h"
#include "policy/name.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LABELS_MAX ((NAME_WIRE_MAX - 1) / 2)

_Static_assert(sizeof(struct domain_slot) == 64, "a slot fills one cache line");

/* Offsets of the labels, the leftmost first; returns their number, 0 for the root. */
static size_t find_labels(const uint8_t *wire, size_t len, uint8_t ret_starts[LABELS_MAX])
{
    assert(len && len <= NAME_WIRE_MAX);
    size_t n = 0;
    for (size_t at = 0; wire[at]; at += wire[at] + 1u) {
        assert(at + wire[at] + 1u < len);
        ret_starts[n++] = (uint8_t)at;
    }
    return n;
}

static const uint8_t *slot_name(const struct domain_index *index, const struct domain_slot *slot)
{
    if (slot->len <= DOMAIN_SLOT_NAME)
        return slot->name;
    return rule_list_at(index->rules, slot->exact < slot->wildcard ? slot->exact : slot->wildcard)->name;
}

/* The slot that holds the name, or the free one where it belongs. */
static struct domain_slot *find_slot(const struct domain_index *index, uint64_t hash, const uint8_t *wire, size_t len)
{
    for (size_t i = hash & index->mask;; i = (i + 1) & index->mask) {
        struct domain_slot *slot = &index->slots[i];
        if (!slot->len || (slot->hash == hash >> 32 && slot->len == len && !memcmp(slot_name(index, slot), wire, len)))
            return slot;
    }
}

static void set_first(uint32_t *first, uint32_t position)
{
    if (position < *first)
        *first = position;
}

static void insert(struct domain_index *index, const struct rule *rule, uint32_t position)
{
    uint8_t starts[LABELS_MAX];
    size_t n = find_labels(rule->name, rule->name_len, starts);
    if (!n) {
        set_first(&index->first_root, position);
        return;
    }
    uint64_t hash = index->seed;
    for (size_t i = n; i-- > 0;)
        hash = hash_bytes(hash, rule->name + starts[i], rule->name[starts[i]] + 1u);
    struct domain_slot *slot = find_slot(index, hash, rule->name, rule->name_len);
    if (!slot->len) {
        *slot = (struct domain_slot){
            .hash = (uint32_t)(hash >> 32), .exact = RULE_NONE, .wildcard = RULE_NONE, .len = rule->name_len};
        if (rule->name_len <= DOMAIN_SLOT_NAME)
            memcpy(slot->name, rule->name, rule->name_len);
    }
    set_first(rule->kind == TARGET_WILDCARD ? &slot->wildcard : &slot->exact, position);
    if (n > index->max_labels)
        index->max_labels = n;
}

int domain_index_init(struct domain_index *index, const struct rule_list *rules)
{
    size_t names = 0, slots = 2, count = rule_list_count(rules);
    for (size_t i = 0; i < count; i++)
        names += rule_list_at(rules, i)->name_len > 0;
    while (slots * 3 < names * 4) /* at most three quarters full */
        slots *= 2;
    *index = (struct domain_index){.slots = aligned_alloc(sizeof(*index->slots), slots * sizeof(*index->slots)),
                                   .mask = slots - 1,
                                   .rules = rules,
                                   .seed = hash_seed(),
                                   .first_any = RULE_NONE,
                                   .first_root = RULE_NONE};
    if (!index->slots)
        return -ENOMEM;
    memset(index->slots, 0, slots * sizeof(*index->slots));
    for (size_t i = 0; i < count; i++) {
        const struct rule *rule = rule_list_at(rules, i);
        if (rule->kind == TARGET_ANY)
            set_first(&index->first_any, (uint32_t)i);
        else if (rule->kind != TARGET_PREFIX)
            insert(index, rule, (uint32_t)i);
    }
    return 0;
}

void domain_index_done(struct domain_index *index)
{
    free(index->slots);
    *index = (struct domain_index){0};
}

uint32_t domain_index_find(const struct domain_index *index, const uint8_t *wire, size_t len)
{
    uint8_t starts[LABELS_MAX];
    uint64_t hashes[LABELS_MAX];
    size_t n = find_labels(wire, len, starts);
    uint32_t first = index->first_any;
    if (!n)
        set_first(&first, index->first_root);
    size_t leftmost = n > index->max_labels ? n - index->max_labels : 0;

    /* All slots are asked for before the first is looked at: a cold lookup waits for memory once, not once a label. */
    uint64_t hash = index->seed;
    for (size_t i = n; i-- > leftmost;) {
        hash = hash_bytes(hash, wire + starts[i], wire[starts[i]] + 1u);
        hashes[i] = hash;
        __builtin_prefetch(&index->slots[hash & index->mask]);
    }
    for (size_t i = n; i-- > leftmost;) {
        const struct domain_slot *slot = find_slot(index, hashes[i], wire + starts[i], len - starts[i]);
        if (slot->len)
            set_first(&first, i ? slot->wildcard : slot->exact);
    }
    return first;
}
