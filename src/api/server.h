/* The API's thread: a loop of its own that drives libmicrohttpd and takes letters. Nothing of this is shared, so
 * nothing is locked. */
#ifndef API_SERVER_H
#define API_SERVER_H

#include "api/api.h"
#include "api/change.h"
#include "api/connection.h"
#include "api/current.h"
#include "api/denied.h"
#include "api/effective.h"
#include "api/events_api.h"
#include "api/guesses.h"
#include "api/request.h"
#include "api/tls.h"
#include "base/loop.h"
#include "base/mailbox.h"

#include <microhttpd.h>
#include <pthread.h>

/* One of libmicrohttpd's daemons, each with a listener; all of them answer alike. */
struct http_server {
    struct api *api;
    struct MHD_Daemon *http;  /* NULL: there is none */
    struct loop_source ready; /* its epoll descriptor */
    struct loop_timer again;
};

enum server_place {
    SERVER_ADDRESS,
    SERVER_LOCAL,   /* the socket in the file system */
    SERVER_RETIRED, /* had the address with an older certificate, and ends with its last connection */
    SERVERS
};

struct api {
    struct api_settings settings;
    struct api_hooks hooks;
    struct log *log;
    struct current current;
    struct change_queue changes;
    struct effective *effective;  /* the newest; NULL: nobody asked yet */
    unsigned n_lookups;           /* questions that the loop has */
    struct mail *lookups_waiting; /* that it gets next, in the order in which they came */
    struct event_waiters waiters;

    struct loop *loop;
    struct mailbox *mailbox; /* to this thread; its context is the api */
    struct http_server servers[SERVERS];
    bool http_pending; /* they have work that no descriptor announces: a connection resumed, or closed at the limit */
    pthread_t thread;

    struct connection_share shares[CONNECTION_SIDES];
    struct tls_watch tls;
    struct guesses guesses;
    struct denied_events denied_events;
    unsigned n_requests;
    size_t body_bytes; /* of all requests together */
    struct mail stop;
    struct loop_timer stop_deadline;
    uint64_t stop_timeout_ns;
    bool stopping, out_of_time;
};

/* Lets a suspended request go on: its answer is sent. */
void server_resume(struct request *request);

/* Reads certificate and key anew, for connections that come from now on. 0, -EAGAIN (not now: connections with the
 * certificate before the last are still there), or -errno with `why`: the old ones stay. */
int server_renew_tls(struct api *api, struct why *why);

#endif
