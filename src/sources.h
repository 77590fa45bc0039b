/* What a start reads besides the environment: the policy, the always files, the upstreams. */
#ifndef SOURCES_H
#define SOURCES_H

#include "base/buf.h"
#include "base/search_text.h"
#include "config.h"
#include "dns/resolv_conf.h"
#include "policy/policy.h"

#define SOURCES_UPSTREAMS_MAX 16

#define SOURCES_WARNINGS 5

#define ALWAYS_FILES 3
extern const char *const always_files[ALWAYS_FILES]; /* their names in OPENSANDBOX_EGRESS_RULES_DIR */

/* The always files. Members are NULL where there is no file. */
struct always {
    struct policy *deny, *allow, *log_skip;
};

/* Where the first policy came from. */
enum policy_source {
    POLICY_FROM_FILE,  /* OPENSANDBOX_EGRESS_POLICY_FILE */
    POLICY_FROM_TABLE, /* the newest change that an earlier process of this network namespace accepted */
    POLICY_FROM_RULES, /* OPENSANDBOX_EGRESS_RULES */
    POLICY_OF_NOBODY,  /* deny all */
};

struct sources {
    struct policy *policy;
    enum policy_source policy_source;
    struct why held; /* why OPENSANDBOX_EGRESS_RULES could not be used, and deny-all is; empty text: they could */
    struct always always;
    struct sock_addr upstreams[SOURCES_UPSTREAMS_MAX];
    size_t n_upstreams;
    struct resolv_conf resolv_conf; /* empty when it cannot be read; its search list is that of the first start */
    struct search_text search;      /* that list as text */
    struct why warnings[SOURCES_WARNINGS]; /* empty text: none */
};

/* What an earlier start used, for a start that may not believe /etc/resolv.conf any more. */
struct kept {
    struct sock_addr list[SOURCES_UPSTREAMS_MAX];
    size_t n;
    struct search_text search;
    bool has_search;
    struct buf policy; /* what sources_policy_text() made; empty: none */
};

/* The policy file if it is valid; without a policy file the policy that was kept, if OPENSANDBOX_EGRESS_RULES is what
 * it was then (else somebody wants another one); else OPENSANDBOX_EGRESS_RULES (what is wrong with them ends the start
 * or, with OPENSANDBOX_EGRESS_BAD_RULES=hold, is `held`), else deny-all; the always files; the configured upstreams,
 * else those kept, if any, else those of /etc/resolv.conf; the search list that is kept, else that of /etc/resolv.conf.
 * 0, or -errno with `why`. Blocks on the disk. */
int sources_read(const struct config *config, const struct kept *kept, struct sources *ret, struct why *why);
void sources_done(struct sources *sources);
/* Appends what a later start of this configuration takes for `policy`. */
void sources_policy_text(const struct config *config, const struct policy *policy, struct buf *out);
/* The value of `source` in egress.loaded. */
const char *policy_source_name(enum policy_source source);
/* The always files alone. -EINVAL when the content of one is at fault. */
int always_read(const struct config *config, struct always *ret, struct why *why);
void always_done(struct always *always);

#endif
