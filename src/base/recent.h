/* The latest events (log records that have one), as JSON, for whoever looks: filled by one thread, read by another.
 *
 * Of them RECENT_MAX are kept, in RECENT_BYTES; older ones make room. They are numbered from 1 on, and anew with each
 * start. Times are CLOCK_MONOTONIC. Memory is taken as it is filled. A call may wait while the other side copies, 256
 * KiB at most. */
#ifndef BASE_RECENT_H
#define BASE_RECENT_H

#include "base/buf.h"
#include "base/log.h"
#include "base/mailbox.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RECENT_MAX 1024
#define RECENT_BYTES (256 * 1024)

struct recent;

/* `logs`: where events come from, borrowed. For RECENT_WATCH_S after each look they have them all, whatever the logs'
 * level. 0 or -ENOMEM. */
#define RECENT_WATCH_S 60
int recent_new(struct log *const *logs, size_t n_logs, struct recent **ret);
void recent_free(struct recent *recent);

/* --- the thread that fills it --- */

/* `fields` are further members of the event's object, each after a comma. What is longer than RECENT_BYTES is lost. */
void recent_add(struct recent *recent, const char *time, size_t time_len, const char *fields, size_t len);
/* To be called now and then: when nobody looks any more the logs get back their level. */
void recent_tend(struct recent *recent, uint64_t now_ns);

/* --- the thread that looks --- */

/* Appends all that came after the event numbered `after`, and what was lost in between, as in GET /events
 * (docs/api.md). A number that no event has yet is one of an earlier start: then all. */
void recent_json(struct recent *recent, uint64_t after, uint64_t now_ns, struct buf *out);
/* When numbering began, in milliseconds since the epoch. */
uint64_t recent_started(const struct recent *recent);
/* Whether recent_json() would have an event. */
bool recent_has(struct recent *recent, uint64_t after);
/* The next event posts `mail` to `box`, once; NULL: none does. Not to be called again before the mail is delivered. */
void recent_call(struct recent *recent, struct mailbox *box, struct mail *mail);

#endif
