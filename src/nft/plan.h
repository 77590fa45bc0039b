/* Transactions as a whole: from settings and policy to messages. Pure. Learned addresses are in changes.h. */
#ifndef NFT_PLAN_H
#define NFT_PLAN_H

#include "nft/batch.h"
#include "nft/nft.h"

/* Numbers in the order of the search list with its names as comments, and SEARCH_TEXT_NAMES with ndots. */
#define PLAN_SEARCH_SET "search"
#define PLAN_NDOTS "ndots:"

/* Takes the table away whether or not there is one. */
void plan_remove(struct batch *batch);
/* Replaces whatever table bears our name by ours; learned and revoked addresses are empty. `lacks`:
 * what to do without, of LACKS_*. True when it is to be followed by
 * plan_open(), before which only what no range decides about passes: kernels show new ranges later than the rules of
 * the same transaction. */
bool plan_install(struct batch *batch, const struct nft_settings *settings, const struct nft_policy *policy,
                  unsigned lacks);
void plan_open(struct batch *batch);
/* From one policy to another, by the ranges that change or, when they are many or `whole`, by all of them. At least one
 * message needs the table, so that a table that went away is an error; so are ranges that are to go and are not there.
 */
void plan_policy(struct batch *batch, const struct nft_settings *settings, const struct nft_policy *before,
                 const struct nft_policy *after, bool whole);
/* Makes a table that refuses everything; the transaction fails with -EEXIST when there is a table. */
void plan_closed(struct batch *batch, unsigned lacks);
/* The same with nothing but what every nf_tables has: replies of connections from outside do not pass either. */
void plan_shut(struct batch *batch);

#endif
