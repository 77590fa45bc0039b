#include "telemetry/tls_files.h"

#include <string.h>

static bool same_version(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

bool tls_files_changed(struct tls_files *files, const char *path)
{
    struct stat now = {0}; /* that it is not there is a version, too */
    if (!path)
        return false;
    (void)stat(path, &now);
    for (size_t i = 0; i < files->n; i++) {
        if (strcmp(files->list[i].path, path))
            continue;
        bool same = same_version(&files->list[i].stat, &now);
        files->list[i].stat = now;
        return !same;
    }
    if (files->n == TLS_FILES_MAX)
        return true;
    files->list[files->n].path = path;
    files->list[files->n++].stat = now;
    return false;
}
