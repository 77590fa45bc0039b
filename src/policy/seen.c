#include "policy/seen.h"

#include "base/cleanup.h"
#include "base/domain_name.h"
#include "policy/hash.h"
#include "policy/public_suffix.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_SLOTS 8192 /* powers of two, at most half full */
#define ADDR_SLOTS 2048

/* A name that was seen, the parent of one, or both. */
struct node {
    uint32_t at; /* in `bytes` */
    uint8_t len;
    uint8_t children; /* seen, up to SEEN_SIBLINGS */
    bool seen;
    bool grouped; /* a wildcard stands for what is below it */
};

struct seen {
    uint64_t seed;
    uint16_t name_slots[NAME_SLOTS]; /* index of the node + 1; 0: free */
    uint16_t addr_slots[ADDR_SLOTS];
    struct node nodes[SEEN_NAMES_MAX];
    uint8_t bytes[SEEN_BYTES_MAX];
    struct ip_addr addrs[SEEN_ADDRS_MAX];
    size_t n_nodes, n_bytes, n_addrs;
    bool names_missing, addrs_missing;
};

int seen_new(struct seen **ret)
{
    struct seen *seen = calloc(1, sizeof(*seen)); /* pages that nobody touched cost nothing */
    if (!seen)
        return -ENOMEM;
    seen->seed = hash_seed();
    *ret = seen;
    return 0;
}

void seen_free(struct seen *seen)
{
    free(seen);
}

int seen_copy(const struct seen *seen, struct seen **ret)
{
    struct seen *copy = calloc(1, sizeof(*copy));
    if (!copy)
        return -ENOMEM;
    copy->seed = seen->seed;
    copy->n_nodes = seen->n_nodes;
    copy->n_bytes = seen->n_bytes;
    copy->n_addrs = seen->n_addrs;
    copy->names_missing = seen->names_missing;
    copy->addrs_missing = seen->addrs_missing;
    memcpy(copy->name_slots, seen->name_slots, sizeof(seen->name_slots));
    memcpy(copy->addr_slots, seen->addr_slots, sizeof(seen->addr_slots));
    memcpy(copy->nodes, seen->nodes, seen->n_nodes * sizeof(*seen->nodes));
    memcpy(copy->bytes, seen->bytes, seen->n_bytes);
    memcpy(copy->addrs, seen->addrs, seen->n_addrs * sizeof(*seen->addrs));
    *ret = copy;
    return 0;
}

bool seen_is_full(const struct seen *seen)
{
    return seen->names_missing || seen->addrs_missing;
}

/* The slot of this name, or the free one where it belongs. */
static size_t name_slot(const struct seen *seen, const uint8_t *wire, size_t len)
{
    size_t i = hash_bytes(seen->seed, wire, len) % NAME_SLOTS;
    for (; seen->name_slots[i]; i = (i + 1) % NAME_SLOTS) {
        const struct node *node = &seen->nodes[seen->name_slots[i] - 1];
        if (node->len == len && memcmp(seen->bytes + node->at, wire, len) == 0)
            break;
    }
    return i;
}

static const struct node *find_node(const struct seen *seen, const uint8_t *wire, size_t len)
{
    size_t number = seen->name_slots[name_slot(seen, wire, len)];
    return number ? &seen->nodes[number - 1] : NULL;
}

/* One without its first label; false for the root. */
static bool to_parent(const uint8_t **wire, size_t *len)
{
    if (*len <= 1)
        return false;
    *len -= (size_t) * *wire + 1;
    *wire += **wire + 1;
    return true;
}

/* A wildcard stands for this name already. */
static bool is_covered(const struct seen *seen, const uint8_t *wire, size_t len)
{
    while (to_parent(&wire, &len)) {
        const struct node *node = find_node(seen, wire, len);
        if (node && node->grouped)
            return true;
    }
    return false;
}

/* The node of this name, new if need be; NULL: no room. */
static struct node *node_for(struct seen *seen, const uint8_t *wire, size_t len)
{
    size_t slot = name_slot(seen, wire, len);
    if (seen->name_slots[slot])
        return &seen->nodes[seen->name_slots[slot] - 1];
    if (seen->n_nodes == SEEN_NAMES_MAX || len > SEEN_BYTES_MAX - seen->n_bytes) {
        seen->names_missing = true;
        return NULL;
    }
    struct node *node = &seen->nodes[seen->n_nodes++];
    *node = (struct node){.at = (uint32_t)seen->n_bytes, .len = (uint8_t)len};
    memcpy(seen->bytes + seen->n_bytes, wire, len);
    seen->n_bytes += len;
    seen->name_slots[slot] = (uint16_t)seen->n_nodes;
    return node;
}

void seen_name(struct seen *seen, const uint8_t *wire, size_t len)
{
    const struct node *known = find_node(seen, wire, len);
    if ((known && known->seen) || is_covered(seen, wire, len))
        return;
    struct node *node = node_for(seen, wire, len);
    if (!node)
        return;
    node->seen = true;
    struct node *parent = to_parent(&wire, &len) && len > 1 ? node_for(seen, wire, len) : NULL;
    if (parent && parent->children < SEEN_SIBLINGS && ++parent->children == SEEN_SIBLINGS)
        parent->grouped = !public_suffix_is(wire, len);
}

void seen_addr(struct seen *seen, const struct ip_addr *addr)
{
    size_t i = hash_bytes(seen->seed, addr, sizeof(*addr)) % ADDR_SLOTS;
    for (; seen->addr_slots[i]; i = (i + 1) % ADDR_SLOTS)
        if (ip_equal(&seen->addrs[seen->addr_slots[i] - 1], addr))
            return;
    if (seen->n_addrs == SEEN_ADDRS_MAX) {
        seen->addrs_missing = true;
        return;
    }
    seen->addrs[seen->n_addrs++] = *addr;
    seen->addr_slots[i] = (uint16_t)seen->n_addrs;
}

/* --- the policy --- */

/* What rules say: names and wildcards. A wildcard stands for three nodes at least, so there are not more than nodes. */
struct texts {
    char *list[SEEN_NAMES_MAX];
    size_t n;
};

static void texts_free(struct texts *texts)
{
    for (size_t i = 0; texts && i < texts->n; i++)
        free(texts->list[i]);
    free(texts);
}

DEFINE_CLEANUP(struct texts, cleanup_texts, texts_free);
DEFINE_CLEANUP(struct rule_list, cleanup_rules, rule_list_free);

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int compare_addrs(const void *a, const void *b)
{
    return ip_compare(a, b);
}

static int put_text(struct texts *texts, const char *stars, const char *name)
{
    if (asprintf(&texts->list[texts->n], "%s%s", stars, name) < 0)
        return -ENOMEM;
    texts->n++;
    return 0;
}

static int put_names(const struct seen *seen, struct texts *texts)
{
    int error = 0;
    for (size_t i = 0; i < seen->n_nodes && !error; i++) {
        const struct node *node = &seen->nodes[i];
        const uint8_t *wire = seen->bytes + node->at;
        char text[DOMAIN_TEXT_MAX];
        if ((!node->seen && !node->grouped) || is_covered(seen, wire, node->len))
            continue;
        domain_name_text(wire, node->len, text);
        if (node->seen)
            error = put_text(texts, "", text);
        if (node->grouped && !error)
            error = put_text(texts, "*.", text);
    }
    qsort(texts->list, texts->n, sizeof(*texts->list), compare_texts);
    return error;
}

/* A target that no rule can spell (names may have any octets) is left out. */
static int put_rule(struct rule_list *rules, const char *target, bool *missing)
{
    struct why why = {""};
    int error = rule_list_add(rules, ACTION_ALLOW, target, &why);
    *missing |= error == -EINVAL;
    return error == -EINVAL ? 0 : error;
}

static int put_addrs(const struct seen *seen, struct rule_list *rules, bool *missing)
{
    _cleanup_free_ struct ip_addr *addrs = calloc(seen->n_addrs + 1, sizeof(*addrs));
    int error = addrs ? 0 : -ENOMEM;
    if (!error) {
        memcpy(addrs, seen->addrs, seen->n_addrs * sizeof(*addrs));
        qsort(addrs, seen->n_addrs, sizeof(*addrs), compare_addrs);
    }
    for (size_t i = 0; i < seen->n_addrs && !error; i++) {
        char text[IP_TEXT_MAX];
        error = put_rule(rules, ip_format(&addrs[i], text), missing);
    }
    return error;
}

int seen_policy(const struct seen *seen, struct policy **ret, bool *ret_names_missing, bool *ret_addrs_missing)
{
    _cleanup_(cleanup_texts) struct texts *texts = calloc(1, sizeof(*texts));
    _cleanup_(cleanup_rules) struct rule_list *rules = NULL;
    bool names_missing = seen->names_missing, addrs_missing = seen->addrs_missing;
    int error = texts ? rule_list_new(&rules) : -ENOMEM;
    if (!error)
        error = put_names(seen, texts);
    for (size_t i = 0; !error && i < texts->n; i++) {
        struct ip_addr addr;
        if (ip_parse(texts->list[i], &addr) == 0) /* somebody asked for that as a name */
            names_missing = true;
        else
            error = put_rule(rules, texts->list[i], &names_missing);
    }
    if (!error)
        error = put_addrs(seen, rules, &addrs_missing);
    if (!error)
        error = policy_new(ACTION_DENY, take_pointer(rules), ret);
    if (error)
        return error;
    *ret_names_missing = names_missing;
    *ret_addrs_missing = addrs_missing;
    return 0;
}
