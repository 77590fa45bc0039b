/* Log records on their way from the thread that saw something to the thread that writes.
 *
 * A `struct log` is one producer's end of a bounded single-producer, single-consumer queue of compact binary records.
 * Recording formats nothing, allocates nothing, takes no lock and makes no system call; the consumer
 * (telemetry/exporter) turns records into text. When the queue is full the newest record is dropped and counted. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/ip.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR, LOG_FATAL };

/* The value of `opensandbox.event`; LOG_PLAIN records carry none. */
enum log_event { LOG_PLAIN, LOG_LOADED, LOG_UPDATED, LOG_UPDATE_FAILED, LOG_OUTBOUND, LOG_DENIED, LOG_API_DENIED };

struct log;

/* Bytes in the queue; a longer record is dropped, whatever room there is. */
#define LOG_RECORD_MAX 65536

/* `capacity`: bytes, rounded up to a power of two of at least a page. 0 or -errno. Does not block. */
int log_new(size_t capacity, enum log_level level, struct log **ret);
void log_free(struct log *log);

/* --- producer: one thread per `struct log` --- */

/* Whether records of this level are wanted; a caller may skip costly preparation. */
bool log_wants(const struct log *log, enum log_level level);

/* Starts a record; false when the level is not wanted or the queue has no room, and then nothing more may be called
 * for this record. `msg` and every `key` below are stored as pointers and must live as long as the program.
 * A field that does not fit any more drops the whole record at log_end(). */
bool log_begin(struct log *log, enum log_level level, enum log_event event, const char *msg);
void log_str(struct log *log, const char *key, const char *text, size_t len);
void log_int(struct log *log, const char *key, int64_t value);
void log_bool(struct log *log, const char *key, bool value);
void log_double(struct log *log, const char *key, double value);
/* A domain name in wire format (RFC 1035 section 3.1, uncompressed); written out lower-case without the final dot. */
void log_name(struct log *log, const char *key, const uint8_t *wire, size_t len);
/* A list of addresses; written out as an array of strings. */
void log_ips(struct log *log, const char *key, const struct ip_addr *addrs, size_t n);
/* A value that is JSON already (an array of rules), on one line. */
void log_json(struct log *log, const char *key, const char *json, size_t len);
void log_end(struct log *log);

/* A plain record whose message is formatted here and copied (cut at 2 KiB): for rare lines only. */
void log_printf(struct log *log, enum log_level level, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* From now on records of this level are made, too, for whoever looks at events; the log's own level says what is
 * written. Any thread. */
void log_take(struct log *log, enum log_level level);

/* Records dropped since start. Any thread. */
uint64_t log_dropped(const struct log *log);

/* --- consumer: one thread per `struct log` --- */

enum log_type { LOG_STR, LOG_INT, LOG_BOOL, LOG_DOUBLE, LOG_NAME, LOG_IPS, LOG_JSON };

struct log_record {
    enum log_level level;
    enum log_event event;
    bool unwritten;  /* below the log's level: made because of log_take() */
    int64_t time_ns; /* CLOCK_REALTIME, since the epoch */
    const char *msg; /* NUL-terminated */
    const uint8_t *fields, *fields_end;
};

struct log_field {
    const char *key;
    enum log_type type;
    int64_t integer;     /* LOG_INT; LOG_BOOL: 0 or 1 */
    double number;       /* LOG_DOUBLE */
    const uint8_t *data; /* others; LOG_IPS: an array of struct ip_addr (no alignment needed) */
    size_t len;          /* bytes in `data` */
};

/* The oldest record, valid until log_pop(); false when the queue is empty. */
bool log_peek(struct log *log, struct log_record *ret);
void log_pop(struct log *log);
/* Takes the next field of `record`; false when there is none. */
bool log_field_next(struct log_record *record, struct log_field *ret);
/* The consumer is going to sleep: the next record that ends rings `event_fd` (an eventfd) once; -1: it is awake again.
 * The producer pays for no memory fence, so a record that ends at this very moment may not ring: the sleeper makes one
 * in all threads (membarrier(2)) and looks at the queue, or looks once more now and then. */
void log_set_bell(struct log *log, int event_fd);

#endif
