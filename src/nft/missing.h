/* What of the kernel a message needs that it has not: a kernel says no more than "No such file or directory". Pure. */
#ifndef NFT_MISSING_H
#define NFT_MISSING_H

#include <libmnl/libmnl.h>
#include <stdbool.h>
#include <stddef.h>

#define MISSING_PART_MAX 32

/* A part of nf_tables that a kernel may be built without, or have as a module that is not there. */
struct missing {
    char part[MISSING_PART_MAX]; /* "expression fib"; empty: nothing that is known to be one */
    const char *module, *config; /* "nft_fib_inet", "CONFIG_NFT_FIB_INET" */
};

/* `message` was refused with `error`, at the attribute that is `offset` octets from its beginning (0: the kernel did
 * not say). True when such a part is lacking; of several possible ones the first. */
bool missing_from(const struct nlmsghdr *message, size_t offset, int error, struct missing *ret);

#endif
