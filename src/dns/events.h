/* The log events of the DNS proxy. */
#ifndef DNS_EVENTS_H
#define DNS_EVENTS_H

#include "base/log.h"
#include "dns/message.h"
#include "dns/proxy.h"
#include "dns/rebinding.h"

/* egress.outbound: a name was let through and answered with these addresses, so long after it was asked for. Not when
 * `skip` matches it. */
void event_outbound(struct log *log, const struct policy *skip, const struct dns_question *question,
                    const struct learned *addresses, size_t n, uint64_t latency_ns);
/* The same for an answer that was kept; the record says so. */
void event_outbound_kept(struct log *log, const struct policy *skip, const struct dns_question *question,
                         const struct dns_found *found, size_t n);
/* egress.outbound: a name was let through and no upstream answered. */
void event_outbound_failed(struct log *log, const struct dns_question *question, const char *error);
/* egress.denied: the name was let through, and these of its addresses were not; `audit`: they would not have been. */
void event_rebinding(struct log *log, const struct dns_question *question, const struct rebinding *rebinding,
                     bool audit);
/* egress.denied; `audit`: it would have been denied. `reason`: why, when it is not what the rule says; or NULL. */
void event_denied(struct log *log, enum log_level level, const struct dns_question *question,
                  const struct decision *decision, const char *reason, bool audit);

#endif
