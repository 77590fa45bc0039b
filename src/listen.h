/* The sockets that are served, bound before the kernel's rules are touched. */
#ifndef LISTEN_H
#define LISTEN_H

#include "config.h"

/* DNS on the loopback addresses (IPv6 where the kernel has it), and the API. -1 and 0 mean "none". */
struct listeners {
    int udp[2], tcp[2];
    size_t n_dns; /* of both */
    int http;
};

/* 0, or -errno with `why` naming the address. */
int listeners_open(const struct config *config, struct listeners *ret, struct why *why);
/* Closes what was not handed over (set to -1). */
void listeners_close(struct listeners *listeners);

#endif
