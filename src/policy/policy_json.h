/* Policies as JSON: the bodies of the API, OPENSANDBOX_EGRESS_RULES and the policy file. */
#ifndef POLICY_POLICY_JSON_H
#define POLICY_POLICY_JSON_H

#include "base/buf.h"
#include "policy/policy.h"

/* `{"defaultAction":…,"egress":[…]}`; blank text, `null` and `{}` give deny-all. Anything unknown, of a wrong type,
 * repeated or left over is an error that names it (with the index of the rule). `text` need not be NUL-terminated.
 * 0, -EINVAL with `why`; -E2BIG with `why` = "egress rule total count N exceeds limit L" when there are more than
 * `max_rules` (0 = no limit); or -ENOMEM. */
int policy_from_json(const char *text, size_t len, size_t max_rules, struct policy **ret, struct why *why);
/* A JSON array of rules (PATCH). -EBADMSG with `why` when a rule's action is neither allow nor deny and everything else
 * is in order, which the API reports differently. An empty array gives an empty list. */
int rules_from_json(const char *text, size_t len, struct rule_list **ret, struct why *why);
/* A JSON array of target strings (DELETE), which must not be empty; the actions of the list mean nothing. A string that
 * cannot be a target is none of any rule's, and left out. */
int targets_from_json(const char *text, size_t len, struct rule_list **ret, struct why *why);

/* `{"egress":[…],"defaultAction":"…"}`: targets as spelled, actions in lower case; the canonical form too. */
void policy_to_json(const struct policy *policy, struct buf *ret);
/* `{"action":…,"target":…}` */
void rule_to_json(const struct rule *rule, struct buf *ret);
/* `[{"action":…,"target":…},…]` */
void rules_to_json(const struct rule_list *rules, struct buf *ret);
void policy_rules_to_json(const struct policy *policy, struct buf *ret);

#endif
