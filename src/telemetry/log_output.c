#include "telemetry/log_output.h"

#include "base/buf.h"
#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define FILE_MODE 0640
/* What a pipe, a socket or a terminal takes without waiting, once poll() says that it takes anything (pipe(7)). */
#define SLICE 4096
#define OWED_MAX (1u << 20)

struct output {
    char *name;
    int fd;
    bool is_file;                /* opened here, by its name */
    struct log_archive *archive; /* of a regular file */
    uint64_t size, rotate_at;    /* bytes */
    int error;                   /* of the last write; 0: it went well */
    uint64_t lost;               /* lines, since it began to fail */
    bool torn;                   /* the last line written has no end yet */
    bool may_block;              /* it is no regular file */
    struct buf owed;             /* what its reader has not taken yet */
};

struct log_outputs {
    struct output *list;
    size_t n;
    struct log_limits limits;
    struct log *reports;
    uint64_t lost; /* lines, by all of them */
};

static void output_done(struct output *o)
{
    if (o->is_file && o->fd >= 0)
        close(o->fd);
    log_archive_free(o->archive);
    buf_done(&o->owed);
    free(o->name);
}

void log_outputs_free(struct log_outputs *outputs)
{
    if (!outputs)
        return;
    for (size_t i = 0; i < outputs->n; i++)
        output_done(&outputs->list[i]);
    free(outputs->list);
    free(outputs);
}

DEFINE_CLEANUP(struct log_outputs, cleanup_outputs, log_outputs_free);

static void report(struct log_outputs *outputs, const char *msg, const char *output, int error, uint64_t lost)
{
    struct log *log = outputs->reports;
    if (!log_begin(log, LOG_WARN, LOG_PLAIN, msg))
        return;
    const char *text = strerror(-error);
    log_str(log, "output", output, strlen(output));
    log_str(log, "error", text, strlen(text));
    if (lost)
        log_int(log, "lost", (int64_t)lost);
    log_end(log);
}

/* O_NONBLOCK is for the opening alone: a FIFO that nobody reads is an error, not a wait. */
static int open_file(const char *path, struct stat *ret_stat)
{
    _cleanup_close_ int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, FILE_MODE);
    if (fd < 0 || fcntl(fd, F_SETFL, O_APPEND) || fstat(fd, ret_stat))
        return -errno;
    return take_fd(&fd);
}

/* Opens, or opens anew, the file by its name. The old descriptor is kept when that fails. */
static int output_open(struct log_outputs *outputs, struct output *o)
{
    struct stat st;
    int fd = open_file(o->name, &st);
    if (fd < 0)
        return fd;
    if (S_ISREG(st.st_mode) && !o->archive) {
        int error = log_archive_new(o->name, &outputs->limits, &o->archive);
        if (error) {
            close(fd);
            return error;
        }
    }
    if (o->fd >= 0)
        close(o->fd);
    o->fd = fd;
    o->size = (uint64_t)st.st_size;
    o->rotate_at = S_ISREG(st.st_mode) ? outputs->limits.file_bytes : UINT64_MAX;
    o->may_block = !S_ISREG(st.st_mode);
    o->torn = false;
    return 0;
}

static int output_init(struct log_outputs *outputs, struct output *o, const char *name)
{
    *o = (struct output){.name = strdup(name), .fd = -1, .rotate_at = UINT64_MAX};
    if (!o->name)
        return -ENOMEM;
    if (!strcmp(name, "stdout"))
        o->fd = STDOUT_FILENO;
    else if (!strcmp(name, "stderr"))
        o->fd = STDERR_FILENO;
    else
        o->is_file = true;
    struct stat st;
    o->may_block = !o->is_file && (fstat(o->fd, &st) || !S_ISREG(st.st_mode));
    return o->is_file ? output_open(outputs, o) : 0;
}

static bool has_name(const struct log_outputs *outputs, const char *name)
{
    for (size_t i = 0; i < outputs->n; i++)
        if (!strcmp(outputs->list[i].name, name))
            return true;
    return false;
}

int log_outputs_new(const char *const *names, size_t n, const struct log_limits *limits, struct log *reports,
                    struct log_outputs **ret, struct why *why)
{
    _cleanup_(cleanup_outputs) struct log_outputs *outputs = calloc(1, sizeof(*outputs));
    if (!outputs || !(outputs->list = calloc(n, sizeof(*outputs->list))))
        return why_set(why, -ENOMEM, "log outputs: out of memory");
    outputs->limits = *limits;
    outputs->reports = reports;
    for (size_t i = 0; i < n; i++) {
        if (has_name(outputs, names[i]))
            continue;
        int error = output_init(outputs, &outputs->list[outputs->n], names[i]);
        outputs->n++;
        if (error)
            return why_set(why, error, "log output %s: %s", names[i], strerror(-error));
    }
    *ret = take_pointer(outputs);
    return 0;
}

/* Writes as much as the output takes now. -errno when it takes no more at all. */
static int write_now(struct output *o, const char *data, size_t len, size_t *ret_done)
{
    size_t done = 0;
    int error = 0;
    while (done < len && !error) {
        size_t slice = o->may_block && len - done > SLICE ? SLICE : len - done;
        if (o->may_block && poll(&(struct pollfd){.fd = o->fd, .events = POLLOUT}, 1, 0) != 1)
            break;
        ssize_t n = write(o->fd, data + done, slice);
        if (n >= 0)
            done += (size_t)n;
        else if (errno == EAGAIN) /* whoever shares the other end has made it non-blocking */
            break;
        else if (errno != EINTR)
            error = -errno;
    }
    if (done)
        o->torn = data[done - 1] != '\n';
    o->size += done;
    *ret_done = done;
    return error;
}

static uint64_t count_lines(const char *data, size_t len)
{
    uint64_t lines = 0;
    for (const char *end = data + len; (data = memchr(data, '\n', (size_t)(end - data))); data++)
        lines++;
    return lines;
}

/* Moves the full file aside and begins a new one. When that cannot be, it grows on, and the next attempt comes after as
 * many bytes again. */
static void rotate(struct log_outputs *outputs, struct output *o)
{
    _cleanup_free_ char *aside = NULL;
    int error = log_archive_take(o->archive, &aside);
    if (!error || error == -ENOENT) { /* ENOENT: somebody has removed or renamed it */
        error = output_open(outputs, o);
        if (!error)
            return;
        if (aside && rename(aside, o->name))
            error = -errno;
    }
    report(outputs, "log file cannot be rotated", o->name, error, 0);
    o->rotate_at += outputs->limits.file_bytes;
}

static void lose(struct log_outputs *outputs, struct output *o, const char *lines, size_t len, int error)
{
    uint64_t lost = count_lines(lines, len);
    o->lost += lost;
    outputs->lost += lost;
    if (!o->error)
        report(outputs, "log output failed", o->name, error, 0);
    o->error = error;
}

static void found_again(struct log_outputs *outputs, struct output *o)
{
    if (o->error)
        report(outputs, "log lines lost", o->name, o->error, o->lost);
    o->error = 0;
    o->lost = 0;
}

/* Writes what is owed. 0 when nothing is any more, 1 when something is, -errno when it was lost. */
static int settle(struct log_outputs *outputs, struct output *o)
{
    size_t done;
    if (!o->owed.len)
        return 0;
    int error = write_now(o, o->owed.data, o->owed.len, &done);
    if (error)
        lose(outputs, o, o->owed.data + done, o->owed.len - done, error);
    if (error || done == o->owed.len)
        buf_done(&o->owed);
    else
        buf_drop(&o->owed, done);
    return error ? error : o->owed.len > 0;
}

/* Writes lines, or keeps them until they can be written. */
static int write_or_owe(struct log_outputs *outputs, struct output *o, const char *lines, size_t len, size_t *ret_done)
{
    size_t done = 0;
    int state = settle(outputs, o), error = state < 0 ? state : 0;
    if (state == 0 && o->torn) { /* a line that was cut off spoils only itself */
        error = write_now(o, "\n", 1, &done);
        if (!error && !done)
            error = -EAGAIN;
        done = 0;
    }
    if (state == 0 && !error)
        error = write_now(o, lines, len, &done);
    *ret_done = done;
    if (error || done == len)
        return error;
    if (o->owed.len >= OWED_MAX)
        return -ENOBUFS;
    buf_append(&o->owed, lines + done, len - done);
    if (!o->owed.failed)
        return 0;
    o->owed.failed = false;
    return -ENOMEM;
}

static void output_write(struct log_outputs *outputs, struct output *o, const char *lines, size_t len)
{
    size_t done;
    if (o->size && o->size + len > o->rotate_at)
        rotate(outputs, o);
    int error = write_or_owe(outputs, o, lines, len, &done);
    if (error)
        lose(outputs, o, lines + done, len - done, error);
    else if (!o->owed.len)
        found_again(outputs, o);
}

void log_outputs_write(struct log_outputs *outputs, const char *lines, size_t len)
{
    for (size_t i = 0; i < outputs->n; i++)
        output_write(outputs, &outputs->list[i], lines, len);
}

bool log_outputs_settle(struct log_outputs *outputs)
{
    bool settled = true;
    for (size_t i = 0; i < outputs->n; i++) {
        struct output *o = &outputs->list[i];
        if (!o->owed.len)
            continue;
        int state = settle(outputs, o);
        if (state == 0)
            found_again(outputs, o);
        settled &= state <= 0;
    }
    return settled;
}

uint64_t log_outputs_lost(const struct log_outputs *outputs)
{
    return outputs->lost;
}

void log_outputs_reopen(struct log_outputs *outputs)
{
    for (size_t i = 0; i < outputs->n; i++) {
        struct output *o = &outputs->list[i];
        int error = o->is_file ? output_open(outputs, o) : 0;
        if (error)
            report(outputs, "log file cannot be reopened", o->name, error, 0);
    }
}

bool log_outputs_tidy(struct log_outputs *outputs)
{
    bool more = false;
    for (size_t i = 0; i < outputs->n; i++) {
        struct output *o = &outputs->list[i];
        int result = o->archive ? log_archive_work(o->archive) : 0;
        if (result < 0)
            report(outputs, "log files cannot be compressed", o->name, result, 0);
        more |= result > 0;
    }
    return more;
}
