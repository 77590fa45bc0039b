/* A kernel at the other end of netlink sockets that says what a script says. Each request is answered by the script's
 * next datagrams up to an empty one, and then by an acknowledgement. */
#ifndef TESTS_FUZZ_NETLINK_WORLD_H
#define TESTS_FUZZ_NETLINK_WORLD_H

#include "script.h"

/* From now on the kernel is the script. Own addresses are 192.0.2.1 and 2001:db8::1. */
void kernel_begin(struct script *script);
void kernel_end(void);
/* Makes the lengths of a datagram's messages such as the kernel may write. */
void kernel_mend(void *datagram, size_t len);

#endif
