/* Requests to the API of the sidecar that runs here, or at another address: HTTP over libcurl, one at a time, on one
 * connection that is kept. No proxy is used, whatever the environment says, since it would see the token. Blocks.
 */
#ifndef CTL_CLIENT_H
#define CTL_CLIENT_H

#include "base/buf.h"
#include "base/why.h"

#include <cjson/cJSON.h>

#define CLIENT_SHOWN_MAX 300
#define CLIENT_ETAG_MAX 80

struct client;

struct request {
    const char *method, *path; /* the path with its query */
    const struct buf *body;    /* NULL: none */
    const char *if_match;      /* an ETag; empty or NULL: whatever is there */
    unsigned wait_s;           /* how long the sidecar may take beyond the usual */
};

struct reply {
    struct buf body;
    char etag[CLIENT_ETAG_MAX]; /* "" when there was none */
};

/* `address` is unix:/PATH, a socket in the file system; HOST:PORT, or :PORT for this host, either behind https:// or
 * not; an unspecified address means this host, too. `token` is NULL when there is none. `authorities` is a PEM file of
 * who vouches for the sidecar's certificate, NULL: the system's. Both are borrowed. 0; EX_USAGE when the address is
 * none, EX_UNAVAILABLE when libcurl cannot be loaded: with `why`. */
int client_new(const char *address, const char *token, const char *authorities, struct client **ret, struct why *why);
void client_free(struct client *client);
/* Where the requests go, as host:port or unix:/path. */
const char *client_address(const struct client *client);
/* 0 when the status is 200. Else a value of sysexits.h, with what it was and what to do about it in `why`:
 * EX_UNAVAILABLE nobody answers, or not at that path; EX_NOPERM the token; EX_DATAERR the sidecar cannot use what was
 * sent; EX_TEMPFAIL `if_match` is not in force, or too much at once; EX_OSERR the sidecar failed; EX_PROTOCOL that is
 * no sidecar. */
int client_ask(struct client *client, const struct request *request, struct reply *ret, struct why *why);
/* The body as JSON, for the caller to delete. 0; EX_PROTOCOL with `why` when it is none. */
int client_json(const struct client *client, const struct reply *reply, cJSON **ret, struct why *why);
void reply_done(struct reply *reply);

#define _cleanup_reply_ __attribute__((cleanup(reply_done)))

#endif
