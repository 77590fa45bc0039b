/* What the parts of the daemon share. daemon.c owns it; enforcement.c, telemetry.c, letters.c and stopping.c each have
 * a part of its work. All of it belongs to the loop, but for what says otherwise. */
#ifndef DAEMON_STATE_H
#define DAEMON_STATE_H

#include "api/api.h"
#include "base/loop.h"
#include "base/mailbox.h"
#include "base/metrics.h"
#include "base/own_socket.h"
#include "base/recent.h"
#include "base/watch.h"
#include "daemon/daemon.h"
#include "enforcer.h"
#include "listen.h"
#include "nft/peers.h"
#include "notify.h"
#include "telemetry/exporter.h"
#include "telemetry/otel_env.h"
#include "telemetry/prometheus.h"
#include "xdp.h"

#include <pthread.h>
#include <stdatomic.h>

#define HUNG_NS (5 * NS_PER_S) /* a loop that has not turned for so long answers nobody in time */
#define STOP_TIMEOUT_MS 5000
/* For what goes over the network: a stop that waits for a dead collector alone is over within 5 s. */
#define FLUSH_TIMEOUT_MS 4500
#define STOP_SECONDS_MAX 20 /* three times that, and a little */

struct daemon {
    const struct config *config;
    struct loop *loop;
    struct mailbox *mailbox;
    struct metrics metrics;
    struct log *log, *api_log;    /* one a thread */
    struct log *logs[2];          /* both, for the exporter */
    struct recent *recent;        /* events that the exporter tells the API; NULL: without OPENSANDBOX_EGRESS_UI */
    struct attribute *attributes; /* of every log record and every data point */
    size_t n_attributes;
    struct meter *meter;
    struct resource *resource;
    struct prometheus *prometheus; /* the API's thread uses it */
    struct otel_env *otel;
    const char **outputs; /* of the log */
    struct exporter *exporter;
    struct listeners listeners;
    struct xdp xdp;
    struct sources sources; /* as read at start; policy and always files are the enforcer's then */
    struct own_mark own;
    uint16_t own_ports[NFT_OWN_PORTS_MAX];
    size_t n_own_ports;
    struct nft_settings kernel;
    struct peers *peers; /* NULL: direct connections are not logged */
    struct enforcer enforcer;
    struct seen *seen;
    bool told_of_seen;   /* that it is full */
    struct watch *watch; /* on the always files */
    struct api *api;
    struct policy_change *change; /* the API's newest */
    struct loop_source signals, devices;
    struct notify notify;
    /* Read by /healthz: what is not as it should be, if anything. */
    _Atomic(const char *) trouble;
    _Atomic uint64_t turned_ns; /* by /livez: when the loop looked after the table last, which is every second */
    bool table_lost, file_lost;
    bool had_way_out, way_out_lost; /* a device and routes to somewhere else than loopback */
    bool held; /* OPENSANDBOX_EGRESS_RULES could not be used, and nobody has posted a policy since */
    struct loop_timer keep;
    /* stopping */
    struct daemon_end end; /* what it will be */
    struct loop_timer drain, deadline;
    bool stopping, api_stopped, flushing;
    bool api_abandoned; /* it could not be stopped and still runs: nothing that it uses may be released */
    pthread_t stopper;
    struct mail api_gone, flushed;
};

/* Returns `code`; `why` is what failed, and the error's text. */
enum daemon_exit daemon_failed(enum daemon_exit code, struct why *why, int error, const char *what);

/* --- enforcement.c --- */

/* The kernel's table and the DNS proxy, and looking after the table from then on. */
enum daemon_exit daemon_start_enforcement(struct daemon *daemon, struct why *why);
/* Looks now whether the table is in place, and whether any route leads out, instead of when the second is over. */
void daemon_look(struct daemon *daemon);
/* Follows what is lost or found again, for /healthz. */
void daemon_tell_health(struct daemon *daemon);

/* --- telemetry.c --- */

/* Metrics, and all that the export thread needs; then, before there is any thread, the process confines itself. */
enum daemon_exit daemon_prepare_telemetry(struct daemon *daemon, struct why *why);
void daemon_release_telemetry(struct daemon *daemon);
/* For the API's thread: the answer to GET /metrics. */
void daemon_render_metrics(void *ctx, bool openmetrics, struct buf *out);

/* --- letters.c --- */

/* What the API's thread asks of the loop. */
struct api_hooks daemon_api_hooks(struct daemon *daemon);
/* For the export thread: has the loop resolve a name. */
void daemon_post_lookup(void *ctx, struct lookup *lookup);

/* --- stopping.c --- */

/* From now on SIGTERM and SIGINT end the loop, in order. Before threads start. 0 or -errno. */
int daemon_stop_on_signals(struct daemon *daemon);
/* Begins to stop; does nothing when it has begun. */
void daemon_stop(struct daemon *daemon);
/* For the export thread: what goes over the network is through. */
void daemon_post_flushed(void *ctx);

#endif
