/* The sockets that are served, bound before the kernel's rules are touched. */
#ifndef LISTEN_H
#define LISTEN_H

#include "config.h"

/* DNS on the loopback addresses (IPv6 where the kernel has it), and the API, at an address and in the file system. -1
 * and 0 mean "none". */
struct listeners {
    int udp[2], tcp[2];
    size_t n_dns;           /* of both */
    int http;               /* -1: OPENSANDBOX_EGRESS_HTTP_ADDR is a socket in the file system */
    int local;              /* the API's socket in the file system */
    const char *local_path; /* of `local`, borrowed from the configuration; NULL: none was made */
    dev_t local_device;     /* which file it is */
    ino_t local_inode;
    struct why warning; /* why `local` was gone without; empty when it was not */
};

/* 0, or -errno with `why` naming the address. */
int listeners_open(const struct config *config, struct listeners *ret, struct why *why);
/* Closes what was not handed over (set to -1). The file of `local` stays: while it is there and nobody answers at it,
 * health checks and `ctl` do not turn to the address, where the sandbox may listen meanwhile. */
void listeners_close(struct listeners *listeners);
/* Takes the file of `local` away: at the end of a run that was asked to end. */
void listeners_remove_local(const struct listeners *listeners);

#endif
