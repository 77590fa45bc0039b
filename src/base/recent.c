#include "base/recent.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct entry {
    uint32_t at, len;
};

/* Entries lie one behind the other in `bytes`; one that does not fit before the end goes to the beginning. Those that
 * it would overwrite are the oldest. What was never filled takes no memory: calloc() maps it. */
struct recent {
    pthread_mutex_t mutex;
    struct log *const *logs;
    size_t n_logs;
    uint64_t started_ms, watched_until_ns; /* 0: nobody looks */
    uint64_t oldest, next;                 /* numbers: kept are those from `oldest` up to before `next` */
    struct mailbox *box;                   /* NULL: nobody is to be called */
    struct mail *mail;
    struct entry entries[RECENT_MAX]; /* by number */
    char bytes[RECENT_BYTES];
};

int recent_new(struct log *const *logs, size_t n_logs, struct recent **ret)
{
    struct recent *recent = calloc(1, sizeof(*recent));
    if (!recent)
        return -ENOMEM;
    pthread_mutex_init(&recent->mutex, NULL);
    recent->logs = logs;
    recent->n_logs = n_logs;
    recent->started_ms = clock_realtime_ns() / NS_PER_MS;
    recent->oldest = recent->next = 1;
    *ret = recent;
    return 0;
}

void recent_free(struct recent *recent)
{
    free(recent);
}

static struct entry *entry_of(struct recent *recent, uint64_t number)
{
    return &recent->entries[number % RECENT_MAX];
}

/* A place for `len` bytes; entries that stand there are dropped. */
static uint32_t make_room(struct recent *recent, size_t len)
{
    struct entry *newest = entry_of(recent, recent->next - 1);
    uint32_t at = recent->next == 1 ? 0 : newest->at + newest->len, end = at;
    if (at + len > RECENT_BYTES) {
        at = 0;
        end = RECENT_BYTES; /* what stands between there and the end is older than what stands at the beginning */
    }
    while (recent->oldest < recent->next) {
        const struct entry *oldest = entry_of(recent, recent->oldest);
        bool skipped = end == RECENT_BYTES && oldest->at >= newest->at + newest->len;
        bool overwritten = oldest->at < at + len && at < oldest->at + oldest->len;
        if (!skipped && !overwritten && recent->next - recent->oldest < RECENT_MAX)
            break;
        recent->oldest++;
    }
    return at;
}

static char *put(char *at, const char *text, size_t len)
{
    memcpy(at, text, len);
    return at + len;
}

void recent_add(struct recent *recent, const char *time, size_t time_len, const char *fields, size_t len)
{
    static const char head[] = ",\"ts\":\"";
    size_t whole = sizeof(head) - 1 + time_len + 1 + len;
    pthread_mutex_lock(&recent->mutex);
    if (whole <= RECENT_BYTES) {
        struct entry entry = {make_room(recent, whole), (uint32_t)whole};
        char *at = put(recent->bytes + entry.at, head, sizeof(head) - 1);
        at = put(at, time, time_len);
        put(put(at, "\"", 1), fields, len);
        *entry_of(recent, recent->next++) = entry;
    }
    if (recent->box)
        mailbox_post(recent->box, recent->mail);
    recent->box = NULL;
    pthread_mutex_unlock(&recent->mutex);
}

static void take_events(struct recent *recent, enum log_level level)
{
    for (size_t i = 0; i < recent->n_logs; i++)
        log_take(recent->logs[i], level);
}

void recent_tend(struct recent *recent, uint64_t now_ns)
{
    pthread_mutex_lock(&recent->mutex);
    if (recent->watched_until_ns && now_ns >= recent->watched_until_ns) {
        recent->watched_until_ns = 0;
        take_events(recent, LOG_FATAL);
    }
    pthread_mutex_unlock(&recent->mutex);
}

uint64_t recent_started(const struct recent *recent)
{
    return recent->started_ms;
}

static bool has(const struct recent *recent, uint64_t after)
{
    return recent->next > 1 && after != recent->next - 1;
}

bool recent_has(struct recent *recent, uint64_t after)
{
    pthread_mutex_lock(&recent->mutex);
    bool any = has(recent, after);
    pthread_mutex_unlock(&recent->mutex);
    return any;
}

void recent_json(struct recent *recent, uint64_t after, uint64_t now_ns, struct buf *out)
{
    pthread_mutex_lock(&recent->mutex);
    recent->watched_until_ns = now_ns + RECENT_WATCH_S * NS_PER_S;
    take_events(recent, LOG_INFO);
    if (after >= recent->next)
        after = 0;
    uint64_t first = after < recent->oldest ? recent->oldest : after + 1;
    buf_printf(out, "{\"status\":\"ok\",\"started\":%" PRIu64 ",\"last\":%" PRIu64 ",\"lost\":%" PRIu64 ",\"events\":[",
               recent->started_ms, recent->next - 1, first - after - 1);
    for (uint64_t number = first; number < recent->next; number++) {
        const struct entry *entry = entry_of(recent, number);
        buf_printf(out, "%s{\"number\":%" PRIu64, number == first ? "" : ",", number);
        buf_append(out, recent->bytes + entry->at, entry->len);
        buf_putc(out, '}');
    }
    pthread_mutex_unlock(&recent->mutex);
    buf_puts(out, "]}\n");
}

void recent_call(struct recent *recent, struct mailbox *box, struct mail *mail)
{
    pthread_mutex_lock(&recent->mutex);
    recent->box = box;
    recent->mail = mail;
    pthread_mutex_unlock(&recent->mutex);
}
