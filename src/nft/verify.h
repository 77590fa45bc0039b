/* Whether the kernel's sets hold what we put there: those of the policy by its ranges, those with leases by their
 * mirrors. */
#ifndef NFT_VERIFY_H
#define NFT_VERIFY_H

#include "nft/changes.h"
#include "nft/conn.h"
#include "nft/nft.h"

/* Whether verify_elements() looks at this set. */
bool verify_knows(const char *set);
/* How many elements verify_elements() would list if all were as they should be. */
size_t verify_size(const struct nft_settings *settings, const struct nft_policy *policy, const struct changes *changes);
/* Lists the elements of all these sets, which takes time: 1 µs for each, and more in sets of many ten thousands.
 * `*ret_differs`: some set is not as it should be, and `what` says which. Packets that prolong a lease, and leases that
 * end, make no difference. 0 or -errno; -EINTR: somebody changes them just now. */
int verify_elements(struct conn *conn, const struct nft_settings *settings, const struct nft_policy *policy,
                    struct changes *changes, uint64_t now_ns, bool *ret_differs, struct why *what, struct why *why);

#endif
