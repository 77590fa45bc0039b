/* The HTTP API: a thread of its own around libmicrohttpd. Parses, validates and compiles policies there, hands the
 * finished value to the daemon's loop and suspends the request until the verdict, so that /healthz is never behind a
 * policy. */
#ifndef API_API_H
#define API_API_H

#include "api/tls.h"
#include "base/buf.h"
#include "base/learned.h"
#include "base/log.h"
#include "base/mailbox.h"
#include "base/metrics.h"
#include "base/recent.h"
#include "policy/seen.h"

#include <stdbool.h>
#include <stddef.h>

/* A letter to the loop: enforce `next`, or say what enforcing it would take away; and another when it is sure that it
 * stays. */
struct policy_change {
    struct mail mail;
    struct policy *next; /* the sender keeps its reference until answered; the loop takes its own */
    bool settled;        /* `next` is in force and its file in place: end the flows that lost permission */
    bool back;           /* `next` is the policy before: the file of the new one could not be put in place */
    bool dry_run;        /* change nothing; fill `forecast` */
    int error;           /* the verdict: 0, or -errno with `why`, and then the old policy is still in force */
    struct why why;
    struct forecast forecast;                       /* dry run: what would be taken away; the API's to release */
    void (*answered)(struct policy_change *change); /* for the loop to call; the change is the API's again then */
};

/* What the loop is asked beside the policy that is in force. */
enum policy_subject {
    ABOUT_POLICY, /* nothing */
    ABOUT_ADDRESS,
    ABOUT_SEEN,   /* since the start */
    ABOUT_LEASES, /* all of them */
    ABOUT_HEALTH, /* look at the table now; hooks.healthy() knows then */
};

/* A letter to the loop. */
struct policy_question {
    struct mail mail;
    enum policy_subject about;
    struct ip_addr addr;
    struct policy_layers layers; /* the answer: references, for the API to give up */
    struct lease_info lease;     /* of the address */
    bool is_own;                 /* the address is this namespace's, where no policy looks */
    struct seen *seen;           /* a copy, for the API to free; NULL when memory is short */
    struct buf leases; /* elements of a JSON array, as lease_info_to_json() writes them; the API's to release */
    size_t n_leases;   /* in all: `leases` may hold the first of them only */
    void (*answered)(struct policy_question *question); /* for the loop to call; the question is the API's again then */
};

/* What the API needs of the daemon; callable from the API's thread. */
struct api_hooks {
    void *ctx;
    /* Posts the change to the loop; returns at once. Changes are posted one at a time. */
    void (*change)(void *ctx, struct policy_change *change);
    /* Posts the question to the loop; returns at once. */
    void (*ask)(void *ctx, struct policy_question *question);
    /* Whether enforcement is in place; false with the reason in `why`. Must not block. */
    bool (*healthy)(void *ctx, struct why *why);
    /* Whether that may be out of date, and the loop is to be asked first (ABOUT_HEALTH). NULL: it never is. Takes some
     * microseconds. */
    bool (*health_is_old)(void *ctx);
    /* Whether the loop turns; false with the reason in `why`. NULL: it does. Must not block. */
    bool (*alive)(void *ctx, struct why *why);
    /* Appends what the process counts as text for Prometheus, or as OpenMetrics. Called from the API's thread only; may
     * take some hundred microseconds. */
    void (*metrics)(void *ctx, bool openmetrics, struct buf *out);
};

/* The strings must live until api_stop() has returned. */
struct api_settings {
    int listen_fd;                /* at an address; taken over, even when the start fails; -1: none */
    int local_fd;                 /* in the file system; likewise */
    struct tls_paths tls;         /* spoken at the address; nothing else is there then */
    const char *token;            /* NULL: open */
    const char *hosts;            /* names that are ours, comma separated (origin.h); NULL: none but the usual */
    size_t max_rules;             /* 0: no limit */
    const char *policy_file;      /* NULL: changes are not written */
    const char *enforcement_mode; /* "dns" or "dns+nft", either with "+audit" */
    bool audit;                   /* nothing is enforced, and /healthz says so */
    unsigned request_timeout_ms;  /* to send headers, and again for the body and to take the answer; 0: 30 s */
    unsigned connections;         /* of clients inside the sandbox, and as many outside; 0: 96 */
    struct recent *recent;        /* NULL: no page and no events are served */
    struct metrics *metrics;
};

struct api;

/* Starts serving. `initial` is the policy in force (a reference is taken). `log` is used by the API's thread only. */
int api_start(const struct api_settings *settings, const struct api_hooks *hooks, struct policy *initial,
              struct log *log, struct api **ret, struct why *why);
/* Takes no new connections and ends the thread, waiting up to `timeout_ms` for requests under way; then changes that
 * wait for their turn are answered with 503, and the one the loop has is waited for. The loop must still be answering
 * changes or have answered them all: call it from another thread than the loop's, or after the last verdict. */
void api_stop(struct api *api, unsigned timeout_ms);

#endif
