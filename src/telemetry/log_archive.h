/* What becomes of a log file that is full: `egress.log` is moved aside as `egress-2026-11-22T06-00-00.123.log` (UTC),
 * compressed to `….log.gz`, and removed when it is one too many or too old.
 *
 * Compression goes slice by slice, each a few milliseconds, between two rounds of writing: the writer is never held up
 * for long, no thread is needed, and what a crash left uncompressed is found and done by the next run. */
#ifndef TELEMETRY_LOG_ARCHIVE_H
#define TELEMETRY_LOG_ARCHIVE_H

#include <stddef.h>
#include <stdint.h>

#define LOG_KEEP_MAX 32

struct log_limits {
    uint64_t file_bytes; /* a file that would grow beyond this is moved aside first */
    size_t keep;         /* files kept beside the current one, at most LOG_KEEP_MAX */
    unsigned keep_days;
};

struct log_archive;

/* `path` is copied. 0 or -ENOMEM. */
int log_archive_new(const char *path, const struct log_limits *limits, struct log_archive **ret);
/* What is being compressed stays as it was, for the next run. */
void log_archive_free(struct log_archive *archive);
/* Moves the file aside under its dated name, `ret_name`, which is the caller's to free. 0 or -errno. */
int log_archive_take(struct log_archive *archive, char **ret_name);
/* Does the next slice of work: 1 when there is more, 0 when all is done, -errno when something was given up until the
 * next file is taken. Blocks on the disk. */
int log_archive_work(struct log_archive *archive);

#endif
