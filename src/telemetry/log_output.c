#include "telemetry/log_output.h"

#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define FILE_MODE 0640

struct output {
    char *name;
    int fd;
    bool is_file;                /* opened here, by its name */
    struct log_archive *archive; /* of a regular file */
    uint64_t size, rotate_at;    /* bytes */
    int error;                   /* of the last write; 0: it went well */
    uint64_t lost;               /* lines, since it began to fail */
    bool torn;                   /* the last line written has no end */
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

/* Writes all of it. `ret_done` tells how much was written when -errno is returned. */
static int write_all(int fd, const char *data, size_t len, size_t *ret_done)
{
    size_t done = 0;
    int error = 0;
    while (done < len && !error) {
        ssize_t n = write(fd, data + done, len - done);
        if (n >= 0)
            done += (size_t)n;
        else if (errno == EAGAIN) /* whoever shares the other end has made it non-blocking */
            poll(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1, -1);
        else if (errno != EINTR)
            error = -errno;
    }
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

static void output_write(struct log_outputs *outputs, struct output *o, const char *lines, size_t len)
{
    if (o->size && o->size + len > o->rotate_at)
        rotate(outputs, o);
    size_t done = 0;
    /* A line that was cut off spoils only itself. */
    int error = o->torn ? write_all(o->fd, "\n", 1, &done) : 0;
    o->size += done;
    done = 0;
    if (!error) {
        o->torn = false;
        error = write_all(o->fd, lines, len, &done);
    }
    o->size += done;
    if (error) {
        o->torn |= done > 0 && lines[done - 1] != '\n';
        uint64_t lost = count_lines(lines + done, len - done);
        o->lost += lost;
        outputs->lost += lost;
        if (!o->error)
            report(outputs, "log output failed", o->name, error, 0);
    } else if (o->error) {
        report(outputs, "log lines lost", o->name, o->error, o->lost);
        o->lost = 0;
    }
    o->error = error;
}

void log_outputs_write(struct log_outputs *outputs, const char *lines, size_t len)
{
    for (size_t i = 0; i < outputs->n; i++)
        output_write(outputs, &outputs->list[i], lines, len);
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
