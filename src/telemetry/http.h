/* HTTP POSTs of the export thread, several at once, over libcurl's multi interface. Nothing blocks but http_wait(), for
 * as long as it is told. libcurl is loaded by http_load() alone: without an endpoint nothing of it is in the process.
 *
 * Sockets carry the sidecar's mark. Host names are never given to the C library's resolver, which would ask our own DNS
 * listener: hosts.h knows their addresses. No redirects, no proxies, no cookies, no other protocols; connections are
 * kept for the next post, for five minutes at most. All calls belong to one thread. */
#ifndef TELEMETRY_HTTP_H
#define TELEMETRY_HTTP_H

#include "base/buf.h"
#include "base/lookup.h"
#include "base/own_socket.h"
#include "base/why.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HTTP_WANTED_MAX 8
#define HTTP_REASON_MAX 320

enum http_error {
    HTTP_OK,            /* there is an answer, whatever its status */
    HTTP_NOT_CONNECTED, /* no address, or nobody there */
    HTTP_NO_ANSWER,     /* connected, and closed or broken before the end of the answer */
    HTTP_TIMED_OUT,
    HTTP_TOO_LARGE, /* more than `answer_max`, or endless headers; status and headers are those that came */
    HTTP_TLS,       /* handshake, certificate, or one of the files */
};

struct http_transfer;

struct http_post {
    /* --- the request: borrowed until `done`, and may be sent again as it is --- */
    const char *url;
    const char *const *headers; /* lines `Name: value`, the last one NULL; may be NULL */
    const void *body;
    size_t body_len;
    unsigned timeout_ms; /* for all of it, the lookup of the name too; 0: none */
    size_t answer_max;   /* bytes of body */
    const char *user_agent;
    bool http2;                  /* over https when the server agrees (ALPN), over http without asking */
    bool fresh_connect;          /* on a connection of its own */
    const char *ca, *cert, *key; /* PEM files, NULL: the system's CAs, no certificate; read anew when they change */
    const char *const *wanted;   /* names of headers and trailers, the last one NULL, HTTP_WANTED_MAX at most */
    void (*done)(struct http_post *post); /* from http_step(), once; may start this or another post */
    void *owner;
    /* --- the result: valid from `done` until the next start or http_post_clear() --- */
    enum http_error error;
    char reason[HTTP_REASON_MAX]; /* of the error, for people */
    unsigned status;              /* 0: no answer began */
    char *found[HTTP_WANTED_MAX]; /* values of `wanted`, the latest each, without blanks around; NULL: not there */
    struct buf answer;
    /* --- while it is under way --- */
    struct http_transfer *transfer;
};

struct http;

struct http_settings {
    const struct own_mark *own; /* of the sockets; NULL: none */
    struct lookup_hook names;   /* who resolves */
    int wake_fd;                /* an eventfd that ends http_wait(); borrowed */
};

int http_new(const struct http_settings *settings, struct http **ret);
/* Loads libcurl: once, before the first post. Blocks for milliseconds. 0, or a negative errno and why. Any thread,
 * while no other uses `http`. */
int http_load(struct http *http, struct why *why);
/* Cancels what is under way. See hosts_free(). NULL is fine. */
void http_free(struct http *http);
/* 0, or -errno (no memory, a URL that is none), and then `done` is not called. */
int http_post_start(struct http *http, struct http_post *post);
/* `done` is not called any more; does nothing when the post is not under way. */
void http_post_cancel(struct http *http, struct http_post *post);
/* Gives up what the result holds. */
void http_post_clear(struct http_post *post);
/* The value of a wanted header or trailer, NULL when there was none. `name` as in `wanted`. */
const char *http_post_header(const struct http_post *post, const char *name);
/* Moves everything on as far as it goes now. */
void http_step(struct http *http);
/* Waits until http_step() has something to do, wake_fd was rung (and clears it), or the time is over. */
void http_wait(struct http *http, unsigned timeout_ms);
/* Posts under way. */
size_t http_busy(const struct http *http);

#endif
