/* Certificates and keys of the endpoints, as they were when connections were made with them. */
#ifndef TELEMETRY_TLS_FILES_H
#define TELEMETRY_TLS_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

#define TLS_FILES_MAX 16

struct tls_files {
    struct {
        const char *path; /* borrowed for good: it belongs to the configuration */
        struct stat stat;
    } list[TLS_FILES_MAX];
    size_t n;
};

/* Whether the file is another one than at the last call with this path: a file that was replaced, rewritten, removed or
 * is there now. False at the first call, and for NULL; true when there are too many files to tell. */
bool tls_files_changed(struct tls_files *files, const char *path);

#endif
