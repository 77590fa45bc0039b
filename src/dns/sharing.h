/* Questions under way: of one name and type, one at a time is asked upstream, and whoever asks the same meanwhile waits
 * for its end. Forging an answer does not become easier by asking often then (RFC 5452 section 5, the birthday
 * attack), whatever flags and EDNS the clients send, and over UDP and TCP alike. Those that asked in the same way
 * (cache_key) have the answer, too; the others are asked after it. Pure. */
#ifndef DNS_SHARING_H
#define DNS_SHARING_H

#include "dns/query.h"

#define SHARING_BUCKETS 1024

struct sharing {
    struct query *buckets[SHARING_BUCKETS];
};

/* Joins `query` (a client's, whole) to the one under way with its question, and returns that one: whoever ends it ends
 * all that are linked behind it by `next_asker`. NULL: the query is to be asked, others may join it, and sharing_end()
 * is called before it is released. The pool is the limit of how many wait. */
struct query *sharing_join(struct sharing *sharing, struct query *query);
/* The question is not asked any more: nobody else joins. Nothing happens when it was said before. */
void sharing_end(struct sharing *sharing, struct query *query);
/* For a question that has ended: takes those out of its askers that its end does not serve, and returns the first of
 * them, to be asked now, with the others behind it; NULL when there are none. `cut`: the answer is not whole. */
struct query *sharing_split(struct sharing *sharing, struct query *query, bool cut);

#endif
