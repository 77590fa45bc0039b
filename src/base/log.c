#include "base/log.h"

#include <assert.h>
#include <errno.h>
#include <stdalign.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define CACHE_LINE 64
#define MESSAGE_MAX 2048 /* of log_printf() */

/* Records and fields start at multiples of 8. A record whose `msg` is NULL brings its message as its first field. */
struct header {
    uint32_t size; /* of the whole record */
    uint8_t level, event;
    int64_t time_ns;
    const char *msg;
};

struct field {
    const char *key;
    uint32_t len, type;
};

static_assert(sizeof(struct header) % 8 == 0 && sizeof(struct field) % 8 == 0, "both are followed by 8-byte values");

/* `head` and `tail` count bytes since the start and never wrap. The three groups lie on cache lines of their own, and
 * each side works with its last look at the other's counter, so that lines move between cores only when one side has
 * used up what it knew of. */
struct log {
    uint8_t *ring; /* mapped twice in a row: a record that passes the end is contiguous all the same */
    size_t capacity;
    enum log_level level; /* written */
    atomic_int taken;     /* made */
    atomic_int bell_fd;

    alignas(CACHE_LINE) _Atomic uint64_t head;
    _Atomic uint64_t dropped;
    uint64_t tail_seen;
    uint8_t *start, *at, *limit; /* the record being written; `at` is NULL once a part of it did not fit */

    alignas(CACHE_LINE) _Atomic uint64_t tail;
    uint64_t head_seen;
};

static int map_twice(size_t capacity, uint8_t **ret)
{
    int fd = memfd_create("log", MFD_CLOEXEC);
    if (fd < 0)
        return -errno;
    int error = 0;
    uint8_t *ring = MAP_FAILED;
    if (ftruncate(fd, (off_t)capacity))
        error = -errno;
    else if ((ring = mmap(NULL, capacity * 2, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) == MAP_FAILED)
        error = -errno;
    for (int i = 0; i < 2 && !error; i++)
        if (mmap(ring + capacity * (size_t)i, capacity, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) ==
            MAP_FAILED)
            error = -errno;
    close(fd);
    if (error && ring != MAP_FAILED)
        munmap(ring, capacity * 2);
    if (!error)
        *ret = ring;
    return error;
}

int log_new(size_t capacity, enum log_level level, struct log **ret)
{
    size_t rounded = (size_t)sysconf(_SC_PAGESIZE);
    while (rounded < capacity && rounded <= SIZE_MAX / 8)
        rounded *= 2;
    struct log *log = aligned_alloc(CACHE_LINE, sizeof(*log));
    if (!log)
        return -ENOMEM;
    memset(log, 0, sizeof(*log));
    log->capacity = rounded;
    log->level = level;
    log->taken = (int)level;
    log->bell_fd = -1;
    int error = map_twice(rounded, &log->ring);
    if (error) {
        free(log);
        return error;
    }
    *ret = log;
    return 0;
}

void log_free(struct log *log)
{
    if (!log)
        return;
    munmap(log->ring, log->capacity * 2);
    free(log);
}

bool log_wants(const struct log *log, enum log_level level)
{
    return (int)level >= atomic_load_explicit(&log->taken, memory_order_relaxed);
}

void log_take(struct log *log, enum log_level level)
{
    atomic_store_explicit(&log->taken, (int)(level < log->level ? level : log->level), memory_order_relaxed);
}

static uint64_t own_head(struct log *log)
{
    return atomic_load_explicit(&log->head, memory_order_relaxed);
}

static void set_limit(struct log *log)
{
    size_t room = log->capacity - (size_t)(own_head(log) - log->tail_seen);
    log->limit = log->start + (room < LOG_RECORD_MAX ? room : LOG_RECORD_MAX);
}

/* The place of the next `len` bytes of the record, or NULL; then the record is lost. */
static uint8_t *reserve(struct log *log, size_t len)
{
    size_t padded = (len + 7) & ~(size_t)7;
    if (!log->at)
        return NULL;
    if (padded > (size_t)(log->limit - log->at)) {
        log->tail_seen = atomic_load_explicit(&log->tail, memory_order_acquire);
        set_limit(log);
    }
    uint8_t *place = padded <= (size_t)(log->limit - log->at) ? log->at : NULL;
    log->at = place ? place + padded : NULL;
    return place;
}

static void count_dropped(struct log *log)
{
    uint64_t dropped = atomic_load_explicit(&log->dropped, memory_order_relaxed);
    atomic_store_explicit(&log->dropped, dropped + 1, memory_order_relaxed);
}

bool log_begin(struct log *log, enum log_level level, enum log_event event, const char *msg)
{
    if (!log_wants(log, level))
        return false;
    log->start = log->at = log->ring + (own_head(log) & (log->capacity - 1));
    set_limit(log);
    struct header *header = (struct header *)reserve(log, sizeof(*header));
    if (!header) {
        count_dropped(log);
        return false;
    }
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    *header = (struct header){.level = (uint8_t)level,
                              .event = (uint8_t)event,
                              .time_ns = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec,
                              .msg = msg};
    return true;
}

static void put(struct log *log, const char *key, enum log_type type, const void *data, size_t len)
{
    /* A length that no record can have is not added to anything. */
    uint8_t *place = reserve(log, len < LOG_RECORD_MAX ? sizeof(struct field) + len : LOG_RECORD_MAX + 1);
    if (!place)
        return;
    *(struct field *)place = (struct field){.key = key, .len = (uint32_t)len, .type = type};
    if (len)
        memcpy(place + sizeof(struct field), data, len);
}

void log_str(struct log *log, const char *key, const char *text, size_t len)
{
    put(log, key, LOG_STR, text, len);
}

void log_int(struct log *log, const char *key, int64_t value)
{
    put(log, key, LOG_INT, &value, sizeof(value));
}

void log_bool(struct log *log, const char *key, bool value)
{
    int64_t integer = value;
    put(log, key, LOG_BOOL, &integer, sizeof(integer));
}

void log_double(struct log *log, const char *key, double value)
{
    put(log, key, LOG_DOUBLE, &value, sizeof(value));
}

void log_name(struct log *log, const char *key, const uint8_t *wire, size_t len)
{
    put(log, key, LOG_NAME, wire, len);
}

void log_ips(struct log *log, const char *key, const struct ip_addr *addrs, size_t n)
{
    put(log, key, LOG_IPS, addrs, n < LOG_RECORD_MAX ? n * sizeof(*addrs) : LOG_RECORD_MAX);
}

void log_json(struct log *log, const char *key, const char *json, size_t len)
{
    put(log, key, LOG_JSON, json, len);
}

static void ring_bell(struct log *log)
{
    int fd = atomic_exchange_explicit(&log->bell_fd, -1, memory_order_relaxed);
    uint64_t one = 1;
    /* Can fail only when the counter is full, and then the bell has been heard. */
    ssize_t ignored = fd >= 0 ? write(fd, &one, sizeof(one)) : 0;
    (void)ignored;
}

void log_end(struct log *log)
{
    if (!log->at) {
        count_dropped(log);
        return;
    }
    size_t size = (size_t)(log->at - log->start);
    ((struct header *)log->start)->size = (uint32_t)size;
    atomic_store_explicit(&log->head, own_head(log) + size, memory_order_release);
    atomic_signal_fence(memory_order_seq_cst); /* the compiler, too, keeps the order that the sleeper's barrier needs */
    if (atomic_load_explicit(&log->bell_fd, memory_order_relaxed) >= 0)
        ring_bell(log);
}

void log_printf(struct log *log, enum log_level level, const char *format, ...)
{
    if (!log_begin(log, level, LOG_PLAIN, NULL))
        return;
    char message[MESSAGE_MAX];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    if (len < 0)
        message[0] = '\0';
    put(log, NULL, LOG_STR, message, strlen(message) + 1);
    log_end(log);
}

uint64_t log_dropped(const struct log *log)
{
    return atomic_load_explicit(&log->dropped, memory_order_relaxed);
}

/* --- consumer --- */

static const uint8_t *oldest(struct log *log)
{
    uint64_t tail = atomic_load_explicit(&log->tail, memory_order_relaxed);
    if (tail == log->head_seen) {
        log->head_seen = atomic_load_explicit(&log->head, memory_order_acquire);
        if (tail == log->head_seen)
            return NULL;
    }
    return log->ring + (tail & (log->capacity - 1));
}

bool log_peek(struct log *log, struct log_record *ret)
{
    const uint8_t *start = oldest(log);
    if (!start)
        return false;
    const struct header *header = (const struct header *)start;
    *ret = (struct log_record){.level = header->level,
                               .event = header->event,
                               .unwritten = header->level < log->level,
                               .time_ns = header->time_ns,
                               .msg = header->msg,
                               .fields = start + sizeof(*header),
                               .fields_end = start + header->size};
    struct log_field message;
    if (!ret->msg)
        ret->msg = log_field_next(ret, &message) ? (const char *)message.data : "";
    return true;
}

void log_pop(struct log *log)
{
    const uint8_t *start = oldest(log);
    assert(start);
    uint64_t tail = atomic_load_explicit(&log->tail, memory_order_relaxed);
    atomic_store_explicit(&log->tail, tail + ((const struct header *)start)->size, memory_order_release);
}

bool log_field_next(struct log_record *record, struct log_field *ret)
{
    if (record->fields == record->fields_end)
        return false;
    const struct field *field = (const struct field *)record->fields;
    const uint8_t *data = record->fields + sizeof(*field);
    record->fields = data + (((size_t)field->len + 7) & ~(size_t)7);
    *ret = (struct log_field){.key = field->key, .type = field->type, .data = data, .len = field->len};
    if (ret->type == LOG_INT || ret->type == LOG_BOOL)
        memcpy(&ret->integer, data, sizeof(ret->integer));
    else if (ret->type == LOG_DOUBLE)
        memcpy(&ret->number, data, sizeof(ret->number));
    return true;
}

void log_set_bell(struct log *log, int event_fd)
{
    atomic_store_explicit(&log->bell_fd, event_fd, memory_order_relaxed);
}
