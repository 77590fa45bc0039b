/* Questions under way that may be asked once for several clients: those that ask the same in the same way while an
 * exchange runs wait for its answer. One question upstream at a time also means that forging its answer does not become
 * easier by asking it often (RFC 5452 section 5). Pure. */
#ifndef DNS_SHARING_H
#define DNS_SHARING_H

#include "dns/query.h"

#define SHARING_BUCKETS 1024
#define SHARING_MAX 256 /* queries that wait for one exchange; a further one is asked by itself */
/* A later query is asked by itself, too: a client's second try must not wait for a datagram that got lost. */
#define SHARING_NS 1000000000ull

struct sharing {
    struct query *buckets[SHARING_BUCKETS];
};

/* Joins `query` (keyed, and otherwise whole) to the exchange of another and returns true: whoever ends that
 * one ends all that are linked behind it by `next_asker`. Else the query is to be asked, others may join it, and
 * sharing_end() is called before it is released. */
bool sharing_join(struct sharing *sharing, struct query *query);
void sharing_end(struct sharing *sharing, struct query *query);

#endif
