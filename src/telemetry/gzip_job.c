#include "telemetry/gzip_job.h"

#include "base/cleanup.h"
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>

#define PART (16 * 1024)
#define PARTS_PER_STEP 16
/* A window of 8 KiB holds two dozen records, and what is alike in them: a larger one makes logs no smaller, and takes
 * 256 KiB instead of 64. */
#define WINDOW_BITS 13
#define GZIP 16 /* instead of a header of zlib's own */
#define MEMORY_LEVEL 6

struct gzip_job {
    char *path, *temp, *final;
    int in_fd, out_fd;
    bool compressing;
    z_stream stream;
    uint8_t in[PART], out[PART];
};

DEFINE_CLEANUP(struct gzip_job, cleanup_job, gzip_job_free);

void gzip_job_free(struct gzip_job *job)
{
    if (!job)
        return;
    if (job->compressing)
        deflateEnd(&job->stream);
    if (job->out_fd >= 0) {
        unlink(job->temp);
        close(job->out_fd);
    }
    if (job->in_fd >= 0)
        close(job->in_fd);
    free(job->path);
    free(job->temp);
    free(job->final);
    free(job);
}

static int open_output(struct gzip_job *job)
{
    struct stat in;
    if (fstat(job->in_fd, &in))
        return -errno;
    job->out_fd = open(job->temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, in.st_mode & 0777);
    if (job->out_fd < 0)
        return -errno;
    job->compressing = deflateInit2(&job->stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, WINDOW_BITS + GZIP, MEMORY_LEVEL,
                                    Z_DEFAULT_STRATEGY) == Z_OK;
    return job->compressing ? 0 : -ENOMEM;
}

int gzip_job_new(const char *path, struct gzip_job **ret)
{
    _cleanup_(cleanup_job) struct gzip_job *job = calloc(1, sizeof(*job));
    if (!job)
        return -ENOMEM;
    job->in_fd = job->out_fd = -1;
    job->path = strdup(path);
    if (!job->path || asprintf(&job->final, "%s.gz", path) < 0 || asprintf(&job->temp, "%s.gz.tmp", path) < 0)
        return -ENOMEM;
    job->in_fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (job->in_fd < 0)
        return -errno;
    int error = open_output(job);
    if (error)
        return error;
    *ret = take_pointer(job);
    return 0;
}

/* What is in `stream`; `flush` as for deflate(). */
static int compress_input(struct gzip_job *job, int flush)
{
    do {
        job->stream.next_out = job->out;
        job->stream.avail_out = sizeof(job->out);
        deflate(&job->stream, flush); /* fails only when called wrongly */
        int error = file_write_all(job->out_fd, job->out, sizeof(job->out) - job->stream.avail_out);
        if (error)
            return error;
    } while (!job->stream.avail_out);
    return 0;
}

static int finish(struct gzip_job *job)
{
    int error = compress_input(job, Z_FINISH);
    if (error)
        return error;
    if (fsync(job->out_fd) || rename(job->temp, job->final))
        return -errno;
    close(take_fd(&job->out_fd));
    return unlink(job->path) ? -errno : 0;
}

int gzip_job_step(struct gzip_job *job)
{
    for (int part = 0; part < PARTS_PER_STEP; part++) {
        ssize_t n = read(job->in_fd, job->in, sizeof(job->in));
        if (n < 0)
            return errno == EINTR ? 1 : -errno;
        if (n == 0)
            return finish(job);
        job->stream.next_in = job->in;
        job->stream.avail_in = (uInt)n;
        int error = compress_input(job, Z_NO_FLUSH);
        if (error)
            return error;
    }
    return 1;
}
