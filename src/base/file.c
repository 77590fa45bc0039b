#include "base/file.h"

#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINKS_MAX 40              /* as many as the kernel follows */
#define IN_PLACE_MAX (64ul << 20) /* the most that is kept in memory to be put back */
#define TEMP_PREFIX ".opensandbox-egress-"

static int read_all(int fd, size_t max, struct buf *buf)
{
    char chunk[16384];
    size_t before = buf->len;
    for (;;) {
        ssize_t n = read(fd, chunk, sizeof(chunk));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            return 0;
        if ((size_t)n > max - (buf->len - before))
            return -EFBIG;
        buf_append(buf, chunk, (size_t)n);
        if (buf->failed)
            return -ENOMEM;
    }
}

int file_read_fd(int fd, size_t max, struct buf *ret)
{
    size_t before = ret->len;
    int error = read_all(fd, max, ret);
    if (error && ret->data) {
        ret->len = before;
        ret->data[before] = '\0';
    }
    return error;
}

int file_read(const char *path, size_t max, struct buf *ret)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? -errno : file_read_fd(fd, max, ret);
}

int file_write_all(int fd, const void *data, size_t len)
{
    const char *at = data;
    while (len) {
        ssize_t n = write(fd, at, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        at += n;
        len -= (size_t)n;
    }
    return 0;
}

/* The new content of an open file, on the disk. */
static int write_synced(int fd, const char *data, size_t len)
{
    if (lseek(fd, 0, SEEK_SET) < 0)
        return -errno;
    int error = file_write_all(fd, data, len);
    if (error)
        return error;
    return ftruncate(fd, (off_t)len) || fsync(fd) ? -errno : 0;
}

struct file_replacement {
    char *path;                          /* where symbolic links led to */
    const char *base;                    /* its last component */
    int folder_fd;                       /* O_PATH: a folder may be one that we cannot list */
    char temp[sizeof(TEMP_PREFIX) + 16]; /* empty: the commit writes in place */
    char *data;                          /* what it writes then */
    size_t len;
};

static void release(struct file_replacement *r)
{
    if (!r)
        return;
    if (r->folder_fd >= 0)
        close(r->folder_fd);
    free(r->path);
    free(r->data);
    free(r);
}

DEFINE_CLEANUP(struct file_replacement, cleanup_replacement, release);

/* Where `path` leads, by way of symbolic links; the last of them need not exist. */
static int follow_links(const char *path, char **ret)
{
    _cleanup_free_ char *at = strdup(path);
    for (int i = 0; at && i < LINKS_MAX; i++) {
        char link[PATH_MAX];
        ssize_t n = readlink(at, link, sizeof(link) - 1);
        if (n < 0) {
            *ret = take_pointer(at);
            return 0;
        }
        link[n] = '\0';
        const char *slash = strrchr(at, '/');
        int folder_len = link[0] == '/' || !slash ? 0 : (int)(slash + 1 - at);
        char *next;
        if (asprintf(&next, "%.*s%s", folder_len, at, link) < 0)
            return -ENOMEM;
        free(at);
        at = next;
    }
    return at ? -ELOOP : -ENOMEM;
}

static int open_folder(struct file_replacement *r)
{
    const char *slash = strrchr(r->path, '/');
    r->base = slash ? slash + 1 : r->path;
    _cleanup_free_ char *folder = slash ? strndup(r->path, (size_t)(r->base - r->path)) : strdup(".");
    if (!folder)
        return -ENOMEM;
    r->folder_fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return r->folder_fd < 0 ? -errno : 0;
}

static int create_temp(struct file_replacement *r, int *ret_fd)
{
    uint64_t random;
    if (getrandom(&random, sizeof(random), 0) != sizeof(random))
        return -errno;
    snprintf(r->temp, sizeof(r->temp), TEMP_PREFIX "%016" PRIx64, random);
    int fd = openat(r->folder_fd, r->temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        r->temp[0] = '\0';
        return -errno;
    }
    *ret_fd = fd;
    return 0;
}

/* Makes the temporary file look like the one it replaces. chown first: it takes set-id bits away. */
static int copy_owner_and_mode(int fd, const struct stat *old)
{
    struct stat now;
    if (fstat(fd, &now))
        return -errno;
    if ((now.st_uid != old->st_uid || now.st_gid != old->st_gid) && fchown(fd, old->st_uid, old->st_gid))
        return -errno;
    return fchmod(fd, old->st_mode & 07777) ? -errno : 0;
}

static void drop_temp(struct file_replacement *r)
{
    if (r->temp[0])
        unlinkat(r->folder_fd, r->temp, 0);
    r->temp[0] = '\0';
}

/* Writes the temporary file. -EROFS, -EACCES or -EPERM: no such file can stand in for the old one. */
static int write_temp(struct file_replacement *r, const struct stat *old)
{
    _cleanup_close_ int fd = -1;
    int error = create_temp(r, &fd);
    if (!error && old)
        error = copy_owner_and_mode(fd, old);
    if (!error)
        error = write_synced(fd, r->data, r->len);
    if (error)
        drop_temp(r);
    return error;
}

static int check_writable(const char *path)
{
    _cleanup_close_ int fd = open(path, O_RDWR | O_CLOEXEC);
    return fd < 0 ? -errno : 0;
}

/* The states in which a folder keeps its entries but a file in it may still take new content. */
static bool cannot_replace(int error)
{
    return error == -EROFS || error == -EACCES || error == -EPERM || error == -EBUSY || error == -EXDEV;
}

int file_replacement_prepare(const char *path, const void *data, size_t len, struct file_replacement **ret,
                             struct why *why)
{
    _cleanup_(cleanup_replacement) struct file_replacement *r = calloc(1, sizeof(*r));
    if (!r)
        return why_set(why, -ENOMEM, "%s: out of memory", path);
    r->folder_fd = -1;
    r->len = len;
    r->data = malloc(len ? len : 1);
    int error = r->data ? follow_links(path, &r->path) : -ENOMEM;
    if (error)
        return why_set(why, error, "%s: %s", path, strerror(-error));
    if (len)
        memcpy(r->data, data, len);
    error = open_folder(r);
    if (error)
        return why_set(why, error, "%s: cannot open its folder: %s", path, strerror(-error));
    struct stat old;
    bool exists = fstatat(r->folder_fd, r->base, &old, AT_SYMLINK_NOFOLLOW) == 0;
    if (!*r->base || (exists && !S_ISREG(old.st_mode)))
        return why_set(why, -EINVAL, "%s: not a regular file", path);
    error = write_temp(r, exists ? &old : NULL);
    if (error && !(exists && cannot_replace(error) && check_writable(r->path) == 0))
        return why_set(why, error, "%s: cannot write a file beside it: %s", path, strerror(-error));
    *ret = take_pointer(r);
    return 0;
}

/* Not safe against a crash in the middle, and the only way where the file cannot be exchanged. The old content is kept
 * in memory: it goes back when the new one does not fit (its blocks are the file's already). */
static int write_in_place(const struct file_replacement *r, struct why *why)
{
    _cleanup_close_ int fd = open(r->path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return why_set(why, -errno, "%s: cannot open it for writing: %s", r->path, strerror(errno));
    _cleanup_buf_ struct buf old = {0};
    int error = read_all(fd, IN_PLACE_MAX, &old);
    if (error)
        return why_set(why, error, "%s: cannot read the old content: %s", r->path, strerror(-error));
    error = write_synced(fd, r->data, r->len);
    if (!error)
        return 0;
    int undo = write_synced(fd, old.data, old.len);
    if (undo)
        return why_set(why, error, "%s: %s; putting the old content back failed, too: %s", r->path, strerror(-error),
                       strerror(-undo));
    return why_set(why, error, "%s: cannot write it in place: %s", r->path, strerror(-error));
}

/* The exchange has happened by now. A folder that cannot be synced (not every file system can) still holds one of the
 * two contents whole after a crash, and there is nothing better to do about it. */
static void sync_folder(const struct file_replacement *r)
{
    _cleanup_close_ int fd = openat(r->folder_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0)
        fsync(fd);
}

int file_replacement_commit(struct file_replacement *replacement, struct why *why)
{
    _cleanup_(cleanup_replacement) struct file_replacement *r = replacement;
    if (!r->temp[0])
        return write_in_place(r, why);
    if (renameat(r->folder_fd, r->temp, r->folder_fd, r->base) == 0) {
        sync_folder(r);
        return 0;
    }
    int error = -errno;
    drop_temp(r);
    if (cannot_replace(error))
        return write_in_place(r, why);
    return why_set(why, error, "%s: cannot be replaced: %s", r->path, strerror(-error));
}

void file_replacement_abort(struct file_replacement *replacement)
{
    if (!replacement)
        return;
    drop_temp(replacement);
    release(replacement);
}
