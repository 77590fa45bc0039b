#include "telemetry/gzip_job.h"

#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>

#define SLICE (256 * 1024)

struct gzip_job {
    char *path, *temp, *final;
    int in_fd, out_fd;
    gzFile gz; /* writes to a duplicate of `out_fd`, which outlives it to be synced */
    char slice[SLICE];
};

DEFINE_CLEANUP(struct gzip_job, cleanup_job, gzip_job_free);

void gzip_job_free(struct gzip_job *job)
{
    if (!job)
        return;
    if (job->gz)
        gzclose(job->gz);
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
    _cleanup_close_ int fd = fcntl(job->out_fd, F_DUPFD_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    job->gz = gzdopen(fd, "wb");
    if (!job->gz)
        return -ENOMEM;
    take_fd(&fd);
    return 0;
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

/* zlib tells of a failed write() by Z_ERRNO and leaves errno as it was. */
static int zlib_error(int code)
{
    return code == Z_ERRNO && errno ? -errno : -EIO;
}

static int finish(struct gzip_job *job)
{
    int code = gzclose(take_pointer(job->gz));
    if (code != Z_OK)
        return zlib_error(code);
    if (fsync(job->out_fd) || rename(job->temp, job->final))
        return -errno;
    close(take_fd(&job->out_fd));
    return unlink(job->path) ? -errno : 0;
}

int gzip_job_step(struct gzip_job *job)
{
    ssize_t n = read(job->in_fd, job->slice, sizeof(job->slice));
    if (n < 0)
        return errno == EINTR ? 1 : -errno;
    if (n == 0)
        return finish(job);
    if (gzwrite(job->gz, job->slice, (unsigned)n) == n)
        return 1;
    int code;
    gzerror(job->gz, &code);
    return zlib_error(code);
}
