#include "telemetry/log_archive.h"

#include "base/cleanup.h"
#include "telemetry/gzip_job.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* The time in a file's name. Stamps sort as text in the order of time. */
#define STAMP_FORM "0000-00-00T00-00-00.000"
#define STAMP_LEN (sizeof(STAMP_FORM) - 1)

struct stamp {
    char text[STAMP_LEN + 1];
};

struct log_archive {
    char *path;
    char *folder;          /* with its final slash; empty: the current one */
    char *stem;            /* `egress` of egress.log */
    const char *extension; /* `.log`, or empty; within `path` */
    struct log_limits limits;
    struct gzip_job *job;
    bool pending; /* there may be files to compress or to remove */
};

DEFINE_CLEANUP(struct log_archive, cleanup_archive, log_archive_free);

static void close_folder(DIR **slot)
{
    if (*slot)
        closedir(*slot);
}

int log_archive_new(const char *path, const struct log_limits *limits, struct log_archive **ret)
{
    _cleanup_(cleanup_archive) struct log_archive *archive = calloc(1, sizeof(*archive));
    if (!archive)
        return -ENOMEM;
    const char *slash = strrchr(path, '/');
    const char *base = slash ? slash + 1 : path;
    const char *dot = strrchr(base, '.');
    size_t stem_len = dot && dot != base ? (size_t)(dot - base) : strlen(base);
    archive->path = strdup(path);
    archive->folder = strndup(path, (size_t)(base - path));
    archive->stem = strndup(base, stem_len);
    if (!archive->path || !archive->folder || !archive->stem)
        return -ENOMEM;
    archive->extension = archive->path + (base - path) + stem_len;
    archive->limits = *limits;
    archive->pending = true;
    *ret = take_pointer(archive);
    return 0;
}

void log_archive_free(struct log_archive *archive)
{
    if (!archive)
        return;
    gzip_job_free(archive->job);
    free(archive->path);
    free(archive->folder);
    free(archive->stem);
    free(archive);
}

static struct stamp stamp_of(int64_t time_ms)
{
    struct stamp stamp;
    struct tm tm;
    time_t second = (time_t)(time_ms / 1000);
    size_t n = strftime(stamp.text, sizeof(stamp.text), "%Y-%m-%dT%H-%M-%S", gmtime_r(&second, &tm));
    snprintf(stamp.text + n, sizeof(stamp.text) - n, ".%03d", (int)(time_ms % 1000));
    return stamp;
}

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Whether `name` is one of ours, when it was moved aside, and whether it is compressed. */
static bool parse_name(const struct log_archive *archive, const char *name, struct stamp *ret, bool *ret_compressed)
{
    size_t stem_len = strlen(archive->stem);
    if (strncmp(name, archive->stem, stem_len) || name[stem_len] != '-')
        return false;
    name += stem_len + 1;
    for (size_t i = 0; i < STAMP_LEN; i++)
        if (STAMP_FORM[i] == '0' ? !isdigit((unsigned char)name[i]) : name[i] != STAMP_FORM[i])
            return false;
    const char *rest = name + STAMP_LEN;
    size_t extension_len = strlen(archive->extension);
    if (strncmp(rest, archive->extension, extension_len))
        return false;
    rest += extension_len;
    if (*rest && strcmp(rest, ".gz"))
        return false;
    memcpy(ret->text, name, STAMP_LEN);
    ret->text[STAMP_LEN] = '\0';
    *ret_compressed = *rest;
    return true;
}

/* Finds a name that is free. Two files within a millisecond: the second gets the next one. */
static int choose_name(const struct log_archive *archive, char **ret)
{
    for (int64_t ms = now_ms();; ms++) {
        struct stamp stamp = stamp_of(ms);
        _cleanup_free_ char *plain = NULL, *compressed = NULL;
        if (asprintf(&plain, "%s%s-%s%s", archive->folder, archive->stem, stamp.text, archive->extension) < 0 ||
            asprintf(&compressed, "%s.gz", plain) < 0)
            return -ENOMEM;
        if (access(plain, F_OK) == 0 || access(compressed, F_OK) == 0)
            continue;
        *ret = take_pointer(plain);
        return 0;
    }
}

int log_archive_take(struct log_archive *archive, char **ret_name)
{
    _cleanup_free_ char *name = NULL;
    int error = choose_name(archive, &name);
    if (error)
        return error;
    if (rename(archive->path, name))
        return -errno;
    archive->pending = true;
    *ret_name = take_pointer(name);
    return 0;
}

/* Starts on a file that is not compressed yet: 1, or 0 when there is none. */
static int start_job(struct log_archive *archive)
{
    _cleanup_(close_folder) DIR *folder = opendir(*archive->folder ? archive->folder : ".");
    if (!folder)
        return -errno;
    for (struct dirent *entry; (entry = readdir(folder));) {
        struct stamp stamp;
        bool compressed;
        if (!parse_name(archive, entry->d_name, &stamp, &compressed) || compressed)
            continue;
        _cleanup_free_ char *path = NULL;
        if (asprintf(&path, "%s%s", archive->folder, entry->d_name) < 0)
            return -ENOMEM;
        int error = gzip_job_new(path, &archive->job);
        return error ? error : 1;
    }
    return 0;
}

/* Puts `stamp` into the descending list of the `max` newest ones. */
static size_t keep_newest(struct stamp *newest, size_t n, size_t max, const struct stamp *stamp)
{
    size_t at = 0;
    while (at < n && strcmp(newest[at].text, stamp->text) > 0)
        at++;
    if (at == max || (at < n && strcmp(newest[at].text, stamp->text) == 0))
        return n;
    size_t moved = n < max ? n - at : max - 1 - at;
    memmove(newest + at + 1, newest + at, moved * sizeof(*newest));
    newest[at] = *stamp;
    return n < max ? n + 1 : n;
}

/* Removes what is one too many or too old. */
static int prune(const struct log_archive *archive)
{
    _cleanup_(close_folder) DIR *folder = opendir(*archive->folder ? archive->folder : ".");
    if (!folder)
        return -errno;
    struct stamp newest[LOG_KEEP_MAX], stamp;
    size_t n = 0, max = archive->limits.keep < LOG_KEEP_MAX ? archive->limits.keep : LOG_KEEP_MAX;
    bool compressed;
    for (struct dirent *entry; (entry = readdir(folder));)
        if (parse_name(archive, entry->d_name, &stamp, &compressed))
            n = keep_newest(newest, n, max, &stamp);
    struct stamp limit = stamp_of(now_ms() - (int64_t)archive->limits.keep_days * 24 * 3600 * 1000);
    if (n == max && max && strcmp(newest[max - 1].text, limit.text) > 0)
        limit = newest[max - 1];
    rewinddir(folder);
    for (struct dirent *entry; (entry = readdir(folder));)
        if (parse_name(archive, entry->d_name, &stamp, &compressed) && (!max || strcmp(stamp.text, limit.text) < 0))
            unlinkat(dirfd(folder), entry->d_name, 0);
    return 0;
}

/* As log_archive_work(), for the file under way. */
static int continue_job(struct log_archive *archive)
{
    int more = gzip_job_step(archive->job);
    if (more > 0)
        return more;
    gzip_job_free(take_pointer(archive->job));
    return more == 0 ? 1 : more; /* there may be another file */
}

int log_archive_work(struct log_archive *archive)
{
    if (!archive->pending)
        return 0;
    int more = archive->job ? continue_job(archive) : start_job(archive);
    if (more > 0)
        return more;
    archive->pending = false;
    int error = prune(archive);
    return more ? more : error;
}
