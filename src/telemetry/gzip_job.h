/* One file on its way to its compressed form, slice by slice. */
#ifndef TELEMETRY_GZIP_JOB_H
#define TELEMETRY_GZIP_JOB_H

struct gzip_job;

/* `path` is to become `path`.gz; it is copied. 0 or -errno. */
int gzip_job_new(const char *path, struct gzip_job **ret);
/* Removes an unfinished output; the input stays. NULL is fine. */
void gzip_job_free(struct gzip_job *job);
/* Compresses the next quarter of a megabyte, some milliseconds of work: 1 when there is more; 0 when the compressed
 * file is complete, synced and in place and the input removed; -errno. */
int gzip_job_step(struct gzip_job *job);

#endif
