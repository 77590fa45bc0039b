/* The way from one policy to another, in as few transactions as let every packet meet one of the two. Pure.
 *
 * Kernels that keep an interval set as an array show what a transaction does to one set after another, and after its
 * rules (docs/kernel.md): a transaction that changes two parts of a policy has moments in which one is new and the
 * other old. So first what is new joins every set, the strongest set first; then the default changes; then what is old
 * leaves, the weakest set first. Whatever an address meets on that way is what the old policy says of it, or the new
 * one: the strongest set that holds it does so by one of the two, and what is weaker has no say in that policy. Moves
 * that follow upon each other and all refuse more, or all let more through, share a transaction, since no order among
 * them shows anything that is not between its beginning and its end. */
#ifndef NFT_STEPS_H
#define NFT_STEPS_H

#include "nft/nft_policy.h"

/* Each set twice, the default, and learned addresses. */
#define STEPS_MAX (2 * NFT_POLICY_SETS + 2)

/* Ranges are borrowed from both policies, but for `joined`. */
struct steps {
    struct nft_policy to[STEPS_MAX]; /* what holds after each transaction */
    size_t n;                        /* at least 1 */
    size_t learned;                  /* the transaction that is to change such addresses; without any, the last */
    struct ip_ranges joined[NFT_POLICY_SETS];
};

/* `learned`: there are learned or revoked addresses to change. 0 or -ENOMEM; steps_done() frees. */
int steps_plan(const struct nft_policy *before, const struct nft_policy *after, bool learned, struct steps *ret);
void steps_done(struct steps *steps);

#endif
