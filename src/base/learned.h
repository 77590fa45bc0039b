/* Addresses that answers named. */
#ifndef BASE_LEARNED_H
#define BASE_LEARNED_H

#include "base/buf.h"
#include "base/ip.h"

/* What the DNS proxy finds and the kernel is told to let through. */
struct learned {
    struct ip_addr addr;
    uint32_t ttl;        /* seconds, as the answer says */
    const uint8_t *name; /* the question's name: wire format, lower-case */
    uint8_t name_len;
};

enum lease_state {
    LEASE_NONE,
    LEASE_LEARNED, /* let through */
    LEASE_REVOKED, /* refused, because policy denied the names */
};

#define LEASE_NAMES_MAX 2048

/* What is known of an address that was learned. */
struct lease_info {
    struct ip_addr addr;
    enum lease_state state;
    uint32_t seconds_left;
    char names[LEASE_NAMES_MAX]; /* that led to it, as text with commas between them */
};

/* What a change of policy would take away, as JSON arrays of which the buffers may hold the first elements only. */
struct forecast {
    struct buf revoked;        /* learned addresses, as lease_info_to_json() writes them */
    struct buf flows;          /* open ones, as flow_to_json() does */
    size_t n_revoked, n_flows; /* in all */
};

void forecast_done(struct forecast *forecast);
/* `{"protocol":"tcp" or "udp","peer":…,"port":…}` */
void flow_to_json(uint8_t protocol, const struct sock_addr *peer, struct buf *ret);

/* `{"address":…,"state":"learned" or "revoked","seconds":…,"names":[…]}` */
void lease_info_to_json(const struct lease_info *lease, struct buf *ret);

#endif
