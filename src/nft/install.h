/* The tables as a whole, with what this kernel has of the parts that some lack. */
#ifndef NFT_INSTALL_H
#define NFT_INSTALL_H

#include "nft/changes.h"
#include "nft/conn.h"
#include "nft/nft.h"

#include <net/if.h>

/* Zero-initialised at first. */
struct install {
    unsigned lacks;               /* of LACKS_*: what the kernel was found to lack */
    bool no_peers;                /* the kernel does not take the rules that show direct connections */
    uint32_t n_rules;             /* of both tables, at the newest install_tables() */
    struct if_nameindex *devices; /* those whose frames are guarded */
};

/* Puts everything in place in one transaction; with ranges, in a second one they come into force, until which
 * everything that they may decide about is dropped. On failure that may be what is in place. */
int install_tables(struct install *install, struct conn *conn, const struct nft_settings *settings,
                   const struct nft_policy *policy, const struct changes *changes, struct why *why);
/* Guards the devices that there are now; nothing is sent when they are the same as before. */
int install_devices(struct install *install, struct conn *conn, const struct nft_settings *settings, bool *ret_sent,
                    struct why *why);
/* Closes the namespace as well as this kernel can, unless there is a table that is not to be replaced; takes all tables
 * away. Each is one transaction. */
int install_closed(struct conn *conn, bool replaces, struct why *why);
int install_nothing(struct conn *conn, struct why *why);
void install_done(struct install *install);

#endif
