/* The table and the declarations of its chains. */
#ifndef NFT_TABLE_H
#define NFT_TABLE_H

#include "nft/batch.h"

/* Makes the table unless there is one; with NLM_F_EXCL in `flags` that is an error. */
void table_add(struct batch *batch, uint16_t flags);
/* Deletes it with everything inside; an error when there is none. */
void table_delete(struct batch *batch);

/* A chain to jump to. */
void table_add_chain(struct batch *batch, const char *name);
/* Where a base chain looks at packets. */
struct table_hook {
    const char *type; /* "filter" or "nat" */
    uint32_t number;  /* NF_INET_*, or NF_NETDEV_* in the table of the netdev family */
    int32_t priority;
    uint32_t policy;    /* NF_ACCEPT or NF_DROP */
    const char *device; /* netdev alone */
};
void table_add_base_chain(struct batch *batch, const char *name, const struct table_hook *hook);
/* A base chain for all packets that leave this host. */
void table_add_output_chain(struct batch *batch, const char *name, const char *type, int32_t priority, uint32_t policy);
/* Changes the policy of an output chain that is there. */
void table_set_policy(struct batch *batch, const char *name, uint32_t policy);

#endif
