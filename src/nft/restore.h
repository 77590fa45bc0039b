/* Reads back what an earlier process left in the kernel. Whatever is not as we write it is passed over: an operator or
 * another program may have made the table. */
#ifndef NFT_RESTORE_H
#define NFT_RESTORE_H

#include "nft/changes.h"
#include "nft/conn.h"
#include "nft/nft.h"

/* Fills the mirrors, which are empty, with the elements that have time left and, unless they are revoked, names, and at
 * most as many as fit: those that end first are left out. Absent sets are empty ones. 0 or -errno. */
int restore_leases(struct conn *conn, struct changes *changes, uint64_t now_ns, struct why *why);
/* The upstreams of the table, in their order; none when there is no table. 0 or -errno. */
int restore_upstreams(struct conn *conn, struct sock_addr *ret, size_t max, size_t *ret_n, struct why *why);
/* Whether everything that leaves passed until now: there is no filter of ours, or one that allows by default, or only
 * that of a closed sandbox, under which what was open before could wait. 0 or -errno. */
int restore_is_open(struct conn *conn, bool *ret, struct why *why);

/* Whether the table is one of audit mode. 0 or -errno. */
int restore_is_audit(struct conn *conn, bool *ret, struct why *why);
/* The search list of the table. 0 or -errno. */
int restore_search(struct conn *conn, struct search_text *ret, bool *ret_found, struct why *why);

#endif
