/* How much of a batch each source may have while more datagrams wait than can be answered in time. A source is an
 * address and a port: on a loopback that everybody shares it is all that tells one client from another. Whoever sends
 * each query from another port cannot be told from many clients. Pure. */
#ifndef DNS_SHARES_H
#define DNS_SHARES_H

#include "base/ip.h"

#define SHARES_SLOTS 256 /* sources that fall into one slot share its part; several times a batch */
#define SHARES_PART 8    /* at most, of a batch */

struct shares {
    uint8_t part;
    uint8_t taken[SHARES_SLOTS];
};

/* A new batch, of which each source has that part. What is left out costs a small fraction of what is answered: the
 * smaller the part, the faster a backlog shrinks. */
void shares_begin(struct shares *shares, uint8_t part);
/* Whether the source has some of its part left; takes it. */
bool shares_take(struct shares *shares, const struct sock_addr *source);

#endif
