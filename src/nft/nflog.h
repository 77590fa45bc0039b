/* A socket that listens to groups of NFLOG: the kernel sends it a message for each packet that a log rule of such a
 * group sees. Never blocks. */
#ifndef NFT_NFLOG_H
#define NFT_NFLOG_H

#include "base/why.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Opens it, non-blocking, in the network namespace of the calling thread. -EPERM: without CAP_NET_ADMIN, or when
 * another program listens to the group; -EINVAL and others: the kernel has no NFLOG. */
int nflog_open(int *ret_fd, struct why *why);
int nflog_join(int fd, uint16_t group, struct why *why);

struct nflog_packet {
    uint16_t group;
    uint32_t number;     /* of the message in its group; a gap is what was lost */
    const void *payload; /* from the IP header on, valid until the next nflog_receive() */
    size_t len;
};

/* Receives what the kernel sent at once and hands each packet of it to `take`. 1; 0 when there is nothing now. */
int nflog_receive(int fd, void (*take)(void *ctx, const struct nflog_packet *packet), void *ctx);

#endif
