/* How much of a batch each source may have while more datagrams wait than can be answered in time, unless it is one of
 * many that ask little: then no one's flood made the backlog, but we did. A source is an address and a port: on a
 * loopback that everybody shares it is all that tells one client from another. Whoever sends each query from another
 * port cannot be told from many clients. Pure. */
#ifndef DNS_SHARES_H
#define DNS_SHARES_H

#include "base/ip.h"

#define SHARES_SLOTS 256 /* sources that fall into one slot share its part; several times a batch */
#define SHARES_PART 8    /* at most, of a batch */
#define SHARES_LITTLE 32 /* who sends less than one in so many asks little */

/* Zero-initialised at first. */
struct shares {
    uint8_t part;
    uint8_t taken[SHARES_SLOTS]; /* of the batch */
    uint16_t seen[SHARES_SLOTS]; /* lately */
    uint16_t n_seen;
};

/* A datagram came: every one is counted, or nobody would know what a source asks when there is a backlog. Returns the
 * source's slot. */
unsigned shares_see(struct shares *shares, const struct sock_addr *source);

/* A new batch, of which each source has that part. What is left out costs a small fraction of what is answered: the
 * smaller the part, the faster a backlog shrinks. */
void shares_begin(struct shares *shares, uint8_t part);
/* Whether a source has some of its part left, which it takes, or asks little. With a part of 1 the backlog is such that
 * this is no excuse. */
bool shares_take(struct shares *shares, unsigned slot);

#endif
