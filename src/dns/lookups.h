/* Host names that the sidecar itself connects to, asked of the upstreams: A and AAAA, with the search list as the C
 * library uses it. No policy, no log event, no client: nobody in the sandbox asked. Runs in the loop; the queries come
 * back through the forwarder's owner. */
#ifndef DNS_LOOKUPS_H
#define DNS_LOOKUPS_H

#include "base/lookup.h"
#include "dns/answer.h"
#include "dns/forwarder.h"
#include "dns/resolv_conf.h"

struct lookups;

/* Borrowed. */
struct lookups_settings {
    struct forwarder *forwarder;
    const struct dns_suffix *search;
    size_t n_search;
    unsigned ndots;          /* a name with fewer dots is asked with the suffixes first, then as it is */
    struct dns_found *found; /* room for dns_found_max(DNS_MESSAGE_MAX), used during a call only */
};

int lookups_new(struct loop *loop, const struct lookups_settings *settings, struct lookups **ret);
/* Those under way are answered with an error. Their queries have been released. */
void lookups_free(struct lookups *lookups);
/* `lookup->answered` is called once, perhaps at once: eight are under way at most, ten seconds each and no longer than
 * a query takes. `localhost` and what is below it is loopback (RFC 6761 section 6.3). Datagrams leave with
 * forwarder_flush(). */
void lookups_start(struct lookups *lookups, struct lookup *lookup);
/* A query of purpose QUERY_LOOKUP was answered: false when the message is of no use, and other upstreams have their
 * turn; else the query is released. */
bool lookups_answered(struct lookups *lookups, struct query *query, const uint8_t *msg, size_t len);
/* … or no upstream answers it. The query is released. */
void lookups_failed(struct lookups *lookups, struct query *query);
/* Queries under way. */
size_t lookups_busy(const struct lookups *lookups);

#endif
