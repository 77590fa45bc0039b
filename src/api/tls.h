/* TLS of the API: certificate and key as files, and the authority whose clients may ask; read again when they change.
 * libmicrohttpd and GnuTLS speak it. */
#ifndef API_TLS_H
#define API_TLS_H

#include "base/buf.h"
#include "base/loop.h"
#include "base/why.h"

#include <microhttpd.h>
#include <stdbool.h>
#include <sys/stat.h>

/* TLS 1.3 and 1.2; the rest is GnuTLS's, and the system's policy. */
#define TLS_PRIORITIES "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"
/* How often files are looked at. What has changed is read when it has not changed since the look before: certificate
 * and key are seldom replaced in one step. */
#define TLS_LOOK_MS 2500

/* Paths of PEM files, borrowed; all NULL: no TLS. */
struct tls_paths {
    const char *certificate; /* with those that lead to its authority, if any */
    const char *key;
    const char *client_ca; /* NULL: clients need no certificate */
};

/* What was in them: texts that end in a NUL. */
struct tls_texts {
    struct buf certificate, key, client_ca;
};

/* Reads them and sees that they fit together. 0, or -errno with `why`, which names variable and path. Blocks. */
int tls_read(const struct tls_paths *paths, struct tls_texts *ret, struct why *why);
/* Overwrites the key. */
void tls_texts_done(struct tls_texts *texts);

#define _cleanup_tls_texts_ __attribute__((cleanup(tls_texts_done)))

/* What a look sees of the files: equal when none has changed. */
struct tls_stamp {
    struct {
        dev_t device;
        ino_t inode;
        off_t size;
        struct timespec changed;
    } of[3];
};

void tls_look(const struct tls_paths *paths, struct tls_stamp *ret);
bool tls_stamp_equal(const struct tls_stamp *a, const struct tls_stamp *b);

/* Whether the client of this connection has shown a certificate that is valid and of the authority's. */
bool tls_client_is_known(struct MHD_Connection *connection);

struct api;

/* Begins to look after the files that the API was started with, now and then. */
void tls_watch_start(struct api *api);

struct tls_watch {
    struct tls_stamp loaded, seen; /* seen: at the look before */
    struct loop_timer look;
    bool complained; /* of what is `seen` */
};

#endif
