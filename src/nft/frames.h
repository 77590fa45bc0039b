/* Table `netdev opensandbox`: what leaves a device without having been an IP packet of this host's. Pure. With
 * CAP_NET_RAW a process can send frames (AF_PACKET), which no output chain sees. Linux 5.16 and later. */
#ifndef NFT_FRAMES_H
#define NFT_FRAMES_H

#include "nft/batch.h"

#include <net/if.h>

/* Replaces whatever table of the netdev family bears our name by one that guards all of these devices but loopback, in
 * the order of if_nameindex(). `dhcp`: addresses may be asked for by frames, which carry what the sender wants. */
void frames_plan(struct batch *batch, const struct if_nameindex *devices, bool dhcp);
/* Takes it away whether or not there is one. */
void frames_remove(struct batch *batch);

#endif
