/* The always files: one target per line, `#` comments and blank lines ignored. */
#ifndef POLICY_RULE_FILE_H
#define POLICY_RULE_FILE_H

#include "policy/policy.h"

/* Parses the content of a file into a policy of rules that all have `action`. `names_only` refuses addresses.
 * 0, -EINVAL with `why` = "PATH:LINE: …", or -ENOMEM. */
int rule_file_parse(const char *path, const char *text, size_t len, enum action action, bool names_only,
                    struct policy **ret, struct why *why);
/* Reads `folder`/`name` and parses it. A missing file gives *ret = NULL and 0. Blocks on the disk. */
int rule_file_load(const char *folder, const char *name, enum action action, bool names_only, struct policy **ret,
                   struct why *why);

#endif
