/* A policy: an ordered list of rules and a default, compiled for lookup. Immutable once made, shared between threads by
 * reference count; evaluated without locks. Knows nothing of JSON, the kernel or DNS messages. */
#ifndef POLICY_POLICY_H
#define POLICY_POLICY_H

#include "base/ip.h"
#include "base/why.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum action { ACTION_DENY, ACTION_ALLOW };

enum target_kind {
    TARGET_NAME,     /* example.com: the name itself */
    TARGET_WILDCARD, /* *.example.com: every name below it, not itself */
    TARGET_ANY,      /* *: every name */
    TARGET_PREFIX,   /* an address or CIDR */
};

struct rule {
    enum action action;
    enum target_kind kind;
    const char *text;    /* the target as spelled, trimmed */
    const uint8_t *name; /* NAME, WILDCARD: wire format, lower-case, without the "*" label */
    uint8_t name_len;
    struct ip_prefix prefix; /* PREFIX */
};

/* Most rules of one list; beyond it adding gives -ENOMEM. */
#define RULES_MAX (1u << 24)

/* A list of rules under construction; owns what its rules point to. */
struct rule_list;

int rule_list_new(struct rule_list **ret);
void rule_list_free(struct rule_list *list);
/* Parses and appends. `target` is trimmed; what can never match (a URL, host:port, an IPv4-mapped address) is refused.
 * 0, -EINVAL with `why`, or -ENOMEM. */
int rule_list_add(struct rule_list *list, enum action action, const char *target, struct why *why);
/* Appends a copy of a rule of another list or policy. 0 or -ENOMEM. */
int rule_list_copy(struct rule_list *list, const struct rule *rule);
size_t rule_list_count(const struct rule_list *list);
/* Valid until the list changes. */
const struct rule *rule_list_at(const struct rule_list *list, size_t i);

struct policy;

/* Compiles; takes `list` over in every case. One reference belongs to the caller. 0 or -ENOMEM. */
int policy_new(enum action default_action, struct rule_list *list, struct policy **ret);
struct policy *policy_ref(struct policy *policy);
/* Gives one reference up; the last one frees. Any thread; NULL is fine. */
void policy_unref(struct policy *policy);

enum action policy_default(const struct policy *policy);
size_t policy_count(const struct policy *policy);
/* -E2BIG with `why` = "egress rule total count N exceeds limit L" when these are too many rules; a limit of 0 is none.
 */
int policy_check_count(size_t count, size_t max_rules, struct why *why);
const struct rule *policy_rule(const struct policy *policy, size_t i);
/* `allow_all` (default allow, no rules), `deny_all` (default deny, no rules), else `enforcing`. */
const char *policy_mode(const struct policy *policy);
/* The addresses that this policy's rules of one action name, as merged ranges; they live as long as the policy. */
struct ip_ranges policy_ranges(const struct policy *policy, enum action action);

/* The first rule in list order that matches the name, or NULL. `wire` is a well-formed lower-case name. */
const struct rule *policy_match_name(const struct policy *policy, const uint8_t *wire, size_t len);
/* A rule of one policy that decides for the address (deny beats allow), or NULL. */
const struct rule *policy_match_addr(const struct policy *policy, const struct ip_addr *addr);

/* True when both targets mean the same: names in any case and spelling, 10.0.0.1 and 10.0.0.1/32. */
bool rule_same_target(const struct rule *a, const struct rule *b);
/* The policy that PATCH makes: `patch` in front (first of equal targets wins), then the old rules whose target is not
 * among them, each target once. Linear time. 0 or -ENOMEM. */
int policy_patch(const struct policy *base, const struct rule_list *patch, struct policy **ret);
/* The policy that DELETE makes: the rules whose target is not among `targets` (their actions do not matter). The rules
 * it took away are in `ret_removed`, possibly none; the caller frees that list. Linear time. 0 or -ENOMEM. */
int policy_remove(const struct policy *base, const struct rule_list *targets, struct policy **ret,
                  struct rule_list **ret_removed);

/* Rules count as the same when they have one action and equal targets; of several that are the same each counts. */
struct policy_diff {
    struct rule_list *added, *removed; /* in the order of their policies */
    bool reordered;                    /* the rules in both have another order */
};

/* What becomes of the rules when `to` takes the place of `from`. 0 or -ENOMEM. */
int policy_diff(const struct policy *from, const struct policy *to, struct policy_diff *ret);
void policy_diff_done(struct policy_diff *diff);

/* --- several policies over one another --- */

enum layer { LAYER_DENY_ALWAYS, LAYER_ALLOW_ALWAYS, LAYER_POLICY };

/* Borrowed pointers. The always layers may be NULL. */
struct policy_layers {
    struct policy *deny_always, *allow_always, *policy;
};

/* The same layers as references of the caller's own, to be given up with policy_layers_unref(). */
struct policy_layers policy_layers_ref(const struct policy_layers *layers);
void policy_layers_unref(struct policy_layers *layers);
/* The very same policies. */
bool policy_layers_same(const struct policy_layers *a, const struct policy_layers *b);
/* `deny_always`, `allow_always` or `policy`. */
const char *layer_name(enum layer layer);

struct decision {
    enum action action;
    enum layer layer;
    const struct rule *rule; /* NULL: the default decided */
};

/* The strongest layer with a matching rule decides, else the policy's default. */
struct decision policy_decide(const struct policy_layers *layers, const uint8_t *wire, size_t len);
struct decision policy_decide_addr(const struct policy_layers *layers, const struct ip_addr *addr);

#endif
