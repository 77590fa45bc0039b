#include "telemetry/exporter.h"

#include "base/cleanup.h"
#include "base/resident.h"
#include "telemetry/log_block.h"
#include "telemetry/log_output.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>

#define OWN_QUEUE_BYTES (64 * 1024)
#define NAP_MIN_MS 8 /* a wake-up for each batch would cost the loop more than its records do */
#define NAP_MAX_MS 64
#define SLEEP_MS 10000      /* log files that are old enough to go wait no longer than this */
#define SHORT_SLEEP_MS 1000 /* records that may not have rung, and lost ones that are still to be told, neither */
#define SETTLING_NS (2 * NS_PER_S) /* until what the start needed is given back */
#define DROP_REPORT_INTERVAL_NS NS_PER_S

static const struct log_limits file_limits = {.file_bytes = 100ull << 20, .keep = 10, .keep_days = 30};

struct exporter {
    struct log **logs; /* borrowed, but for the last: what the exporter has to say itself */
    size_t n_logs;
    struct log_outputs *outputs;
    struct log_block block;
    uint64_t dropped_reported; /* of all that were dropped so far */
    struct metrics *metrics;
    uint64_t next_drop_report_ns;
    uint64_t trim_ns; /* 0: done */
    bool untold;      /* records were lost since the latest report */
    bool barriers;    /* the kernel has membarrier(2) for us */
    int event_fd;     /* rung by the first record after a sleep, by stop and by reopen */
    int ended_fd;     /* rung by the thread, last of all */
    atomic_bool stop, reopen;
    struct network *network;
    bool started;
    pthread_t thread;
};

static struct log *own_log(struct exporter *e)
{
    return e->logs[e->n_logs - 1];
}

/* Tells, once the queues are empty again, how many records did not get in. Seldom enough not to be a flood itself. */
static void report_dropped(struct exporter *e, bool stopping)
{
    uint64_t dropped = e->block.lost;
    for (size_t i = 0; i < e->n_logs; i++)
        dropped += log_dropped(e->logs[i]);
    e->untold = dropped != e->dropped_reported;
    if (!e->untold || (!stopping && clock_monotonic_ns() < e->next_drop_report_ns))
        return;
    if (!log_begin(own_log(e), LOG_WARN, LOG_PLAIN, "log records dropped"))
        return;
    log_int(own_log(e), "dropped", (int64_t)(dropped - e->dropped_reported));
    log_end(own_log(e));
    e->dropped_reported = dropped;
    e->untold = false;
    e->next_drop_report_ns = clock_monotonic_ns() + DROP_REPORT_INTERVAL_NS;
}

/* One write of what has come. `settled`: no output owes anything, so that what is told of losses is not lost itself.
 * `ret_more`: there was more than a block. Whether there was anything. */
static bool write_round(struct exporter *e, bool settled, bool stopping, bool *ret_more)
{
    log_block_clear(&e->block);
    if (e->block.recent)
        recent_tend(e->block.recent, clock_monotonic_ns());
    *ret_more = log_block_fill(&e->block);
    if (!*ret_more && settled) {
        report_dropped(e, stopping);
        *ret_more = log_block_fill(&e->block);
    }
    if (e->block.text.len)
        log_outputs_write(e->outputs, e->block.text.data, e->block.text.len);
    metric_set(e->metrics, METRIC_LOG_DROPPED, e->block.lost + log_dropped(own_log(e)) + log_outputs_lost(e->outputs));
    return e->block.made > 0;
}

static void set_bells(struct exporter *e, int fd)
{
    for (size_t i = 0; i < e->n_logs; i++)
        log_set_bell(e->logs[i], fd);
    network_set_bell(e->network, fd);
}

/* A memory fence in every thread of the process: a producer either sees the bell, or its record is seen here. The
 * producers pay for none, see log_set_bell(). */
static bool fence_all_threads(const struct exporter *e)
{
    return e->barriers && !syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
}

static void sleep_until_rung(struct exporter *e)
{
    set_bells(e, e->event_fd);
    bool sure = fence_all_threads(e) && !e->untold;
    network_step(e->network);
    if (!log_block_waits(&e->block))
        network_wait(e->network, sure && !e->trim_ns ? SLEEP_MS : SHORT_SLEEP_MS);
    set_bells(e, -1);
}

static void ring(int fd)
{
    uint64_t one = 1;
    /* Fails only when the counter is full, and then whoever listens is about to look. */
    ssize_t ignored = write(fd, &one, sizeof(one));
    (void)ignored;
}

static void trim_once(struct exporter *e)
{
    if (!e->trim_ns || clock_monotonic_ns() < e->trim_ns)
        return;
    e->trim_ns = 0;
    resident_trim();
}

static void export_until_stopped(struct exporter *e)
{
    unsigned nap_ms = NAP_MIN_MS;
    for (;;) {
        /* Read first: what was recorded before the stop is in this round or a later one. */
        bool stopping = atomic_load(&e->stop), more;
        if (atomic_exchange(&e->reopen, false))
            log_outputs_reopen(e->outputs);
        bool settled = log_outputs_settle(e->outputs), wrote = write_round(e, settled, stopping, &more);
        if (stopping && !wrote && settled)
            return;
        network_step(e->network);
        trim_once(e);
        bool tidying = !stopping && log_outputs_tidy(e->outputs);
        if (more || (stopping && settled))
            continue;
        if (wrote || tidying || !settled)
            nap_ms = NAP_MIN_MS;
        if (nap_ms > NAP_MAX_MS) {
            sleep_until_rung(e);
        } else {
            network_wait(e->network, nap_ms);
            nap_ms *= 2;
        }
    }
}

static void *run(void *arg)
{
    struct exporter *e = arg;
    pthread_setname_np(pthread_self(), "export"); /* another thread's name is a file that may be out of reach */
    e->trim_ns = clock_monotonic_ns() + SETTLING_NS;
    export_until_stopped(e);
    ring(e->ended_fd);
    return NULL;
}

static void exporter_free(struct exporter *e)
{
    if (!e)
        return;
    network_free(e->network);
    log_outputs_free(e->outputs);
    log_block_done(&e->block);
    if (e->logs)
        log_free(own_log(e));
    free(e->logs);
    if (e->event_fd >= 0)
        close(e->event_fd);
    if (e->ended_fd >= 0)
        close(e->ended_fd);
    free(e);
}

DEFINE_CLEANUP(struct exporter, cleanup_exporter, exporter_free);

static int exporter_init(struct exporter *e, const struct exporter_settings *settings, struct why *why)
{
    /* As long as there is one thread: with more the kernel takes 10 ms for it. */
    e->barriers = !syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0);
    e->n_logs = settings->n_logs + 1;
    e->metrics = settings->metrics;
    e->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    e->ended_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (e->event_fd < 0 || e->ended_fd < 0)
        return why_set(why, -errno, "log: eventfd: %s", strerror(errno));
    e->logs = calloc(e->n_logs, sizeof(struct log *));
    int error = e->logs ? log_new(OWN_QUEUE_BYTES, LOG_WARN, &e->logs[settings->n_logs]) : -ENOMEM;
    if (!error)
        error = log_json_init(&e->block.json, settings->attributes, settings->n_attributes);
    if (error)
        return why_set(why, error, "log: %s", strerror(-error));
    error = network_new(&settings->network, e->event_fd, own_log(e), &e->network, why);
    if (error)
        return error;
    for (size_t i = 0; i < settings->n_logs; i++)
        e->logs[i] = settings->logs[i];
    e->block.logs = e->logs;
    e->block.n_logs = e->n_logs;
    e->block.network = e->network;
    e->block.recent = settings->recent;
    return log_outputs_new(settings->outputs, settings->n_outputs, &file_limits, own_log(e), &e->outputs, why);
}

int exporter_new(const struct exporter_settings *settings, struct exporter **ret, struct why *why)
{
    _cleanup_(cleanup_exporter) struct exporter *e = calloc(1, sizeof(*e));
    if (!e)
        return why_set(why, -ENOMEM, "log: out of memory");
    e->event_fd = e->ended_fd = -1;
    int error = exporter_init(e, settings, why);
    if (error)
        return error;
    *ret = take_pointer(e);
    return 0;
}

int exporter_start(struct exporter *exporter, struct why *why)
{
    int error = pthread_create(&exporter->thread, NULL, run, exporter);
    if (error)
        return why_set(why, -error, "log: cannot start the export thread: %s", strerror(error));
    exporter->started = true;
    return 0;
}

void exporter_reopen(struct exporter *exporter)
{
    atomic_store(&exporter->reopen, true);
    ring(exporter->event_fd);
}

void exporter_denied(struct exporter *exporter, const uint8_t *name, size_t len)
{
    network_denied(exporter->network, name, len);
}

bool exporter_flush(struct exporter *exporter, unsigned timeout_ms)
{
    bool anything = network_flush(exporter->network, timeout_ms);
    if (anything)
        ring(exporter->event_fd);
    return anything;
}

bool exporter_stop(struct exporter *exporter, unsigned timeout_ms)
{
    if (!exporter)
        return true;
    atomic_store(&exporter->stop, true);
    ring(exporter->event_fd);
    struct pollfd ended = {.fd = exporter->ended_fd, .events = POLLIN};
    if (exporter->started && poll(&ended, 1, (int)timeout_ms) != 1)
        return false;
    if (exporter->started)
        pthread_join(exporter->thread, NULL);
    exporter_free(exporter);
    return true;
}
