/* Where TCP clients come from, and who of them makes room when there are too many: the source that has most gives one
 * of its own, so that nobody is kept away by another source. Among those of one source, which cannot be told apart, it
 * is the oldest that does not take its replies, else the first idle one of the older half, else the one with most under
 * way. Whoever comes is served: one that was just accepted, whose query is not there yet, must not be the only idle one
 * among a crowd that asks. Pure.
 *
 * All of 127/8 is one source: whoever has one of its addresses has all of them. */
#ifndef DNS_TCP_SOURCES_H
#define DNS_TCP_SOURCES_H

#include "base/ip.h"

#include <limits.h>
#include <sys/queue.h>

struct tcp_source;

/* Embedded in what is kept. */
struct tcp_member {
    struct tcp_source *source;
    TAILQ_ENTRY(tcp_member) link; /* by last activity, oldest first */
};

struct tcp_sources {
    LIST_HEAD(tcp_source_list, tcp_source) list;
};

/* 0 or -ENOMEM. */
int tcp_sources_join(struct tcp_sources *sources, struct tcp_member *member, const struct sock_addr *peer);
void tcp_sources_leave(struct tcp_member *member);
/* It was active: now it is the youngest of its source. */
void tcp_sources_touch(struct tcp_member *member);
/* Who makes room; NULL when there is nobody. `burden`: how many queries of it are under way, or TCP_STALLED when there
 * are replies that it does not take. */
#define TCP_STALLED UINT_MAX
struct tcp_member *tcp_sources_victim(struct tcp_sources *sources, unsigned (*burden)(struct tcp_member *member));
/* Calls `fn` for every member; it may let that member leave. */
void tcp_sources_each(struct tcp_sources *sources, void (*fn)(struct tcp_member *member));

#endif
