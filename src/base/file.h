/* Whole files: reading with a limit, and replacing in two steps so that a crash or a full disk never leaves a mixture.
 * These calls block on the disk. */
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include "base/buf.h"
#include "base/why.h"

#include <stddef.h>

/* Appends the content of a regular file or pipe. 0, -EFBIG beyond `max` bytes, or -errno. */
int file_read(const char *path, size_t max, struct buf *ret);
/* The same from where `fd` stands. */
int file_read_fd(int fd, size_t max, struct buf *ret);
/* All of it, for a descriptor that blocks. 0 or -errno. */
int file_write_all(int fd, const void *data, size_t len);

struct file_replacement;

/* Writes `data` to a file beside `path` (its mode and owner kept, 0600 when new) and fsyncs it. Where the folder takes
 * no new file but `path` itself can be written (a bind-mounted file), the writing is left to the commit.
 * 0 or -errno with `why`. */
int file_replacement_prepare(const char *path, const void *data, size_t len, struct file_replacement **ret,
                             struct why *why);
/* Puts the new content in place (rename, fsync of the folder; or, for a file that cannot be replaced: EBUSY, EXDEV,
 * EROFS, written in place and fsynced) and releases the replacement. On failure the old content is in place. */
int file_replacement_commit(struct file_replacement *replacement, struct why *why);
/* Removes what prepare left and releases the replacement; NULL is fine. */
void file_replacement_abort(struct file_replacement *replacement);

#endif
