/* Asks every upstream now and then whether it answers: one datagram each. Who does not is skipped until it
 * does again. Runs in the loop; the queries come back through the forwarder's owner. */
#ifndef DNS_PROBER_H
#define DNS_PROBER_H

#include "base/log.h"
#include "dns/forwarder.h"

struct prober;

/* `name` is asked for its A records, `.` for its NS records; text that is no name is as `.`, with a warning. 0 or
 * -errno. */
int prober_new(struct loop *loop, struct forwarder *forwarder, struct log *log, const char *name, unsigned interval_s,
               struct prober **ret);
void prober_free(struct prober *prober);
/* Probes all upstreams every interval from now on. */
void prober_start(struct prober *prober);
/* Probes this one now as well, unless probing has stopped; it leaves with forwarder_flush(). */
void prober_probe(struct prober *prober, size_t upstream);
/* No more probes; those under way still end. */
void prober_stop(struct prober *prober);
/* A query of purpose QUERY_HEALTH_PROBE is over: answered, or `error` says why not. Its owner releases it then. */
void prober_ended(struct prober *prober, const struct query *query, const char *error);
/* Probes under way. */
size_t prober_busy(const struct prober *prober);

#endif
