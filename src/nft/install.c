#include "nft/install.h"

#include "base/loop.h"
#include "nft/devices.h"
#include "nft/frames.h"
#include "nft/peer_chains.h"
#include "nft/peer_memory.h"
#include "nft/plan.h"

#include <errno.h>
#include <string.h>

#define TRIES 5 /* while devices vanish between listing and guarding them */

static int list_devices(struct if_nameindex **ret, struct why *why)
{
    *ret = if_nameindex();
    return *ret ? 0 : why_set(why, -errno, "cannot list network devices: %s", strerror(errno));
}

/* What install_tables() was given. */
struct tables {
    const struct nft_settings *settings;
    const struct nft_policy *policy;
    const struct changes *changes;
};

static int try_tables(struct install *install, struct conn *conn, const struct tables *tables, struct why *why)
{
    _cleanup_batch_ struct batch *batch = NULL;
    _cleanup_devices_ struct if_nameindex *devices = NULL;
    bool guards = tables->settings->filter && !tables->settings->audit && !install->no_frames;
    int error = guards ? list_devices(&devices, why) : 0;
    if (error)
        return error;
    if (batch_new(&batch))
        return why_set(why, -ENOMEM, "out of memory");
    batch_begin(batch);
    bool gated = plan_install(batch, tables->settings, tables->policy, !install->no_zones);
    if (tables->settings->filter)
        changes_encode_all(tables->changes, batch, clock_monotonic_ns());
    if (tables->settings->log_peers)
        peer_memory_carry(conn, batch);
    if (guards)
        frames_plan(batch, devices);
    else if (!install->no_frames)
        frames_remove(batch);
    error = conn_commit(conn, batch, why);
    if (error)
        return error;
    install_done(install);
    install->devices = take_pointer(devices);
    install->n_rules = batch_rules(batch) - gated;
    if (!gated)
        return 0;
    batch_begin(batch);
    plan_open(batch);
    return conn_commit(conn, batch, why);
}

/* Leaves out what hooks and zones this kernel lacks. */
static int try_without(struct install *install, struct conn *conn, const struct tables *tables, struct why *why)
{
    bool no_zones = install->no_zones, no_frames = install->no_frames;
    int error = -ENOENT;
    for (size_t i = 0; i < TRIES && error == -ENOENT && !(i && conn_lacks(conn)); i++)
        error = try_tables(install, conn, tables, why);
    /* The kernel does not say which of the two it lacks. */
    for (unsigned without = 1; without < 4 && error == -EOPNOTSUPP; without++) {
        install->no_frames = no_frames || without & 1;
        install->no_zones = no_zones || without & 2;
        error = try_tables(install, conn, tables, why);
    }
    if (error) {
        install->no_zones = no_zones;
        install->no_frames = no_frames;
    }
    return error;
}

/* The kernel does not know something that it was sent. */
static bool is_unknown(int error)
{
    return error == -ENOENT || error == -EOPNOTSUPP || error == -EINVAL;
}

/* By a transaction that fails at its end, if not before, so that it changes nothing. */
static bool lacks_peers(struct conn *conn)
{
    _cleanup_batch_ struct batch *batch = NULL;
    if (batch_new(&batch))
        return false;
    batch_begin(batch);
    plan_peers_trial(batch);
    return is_unknown(conn_commit(conn, batch, NULL));
}

static bool lacks_reject(const struct conn *conn)
{
    return conn_lacks(conn) && !strcmp(conn_lacks(conn), "nft_reject_inet");
}

int install_tables(struct install *install, struct conn *conn, const struct nft_settings *settings,
                   const struct nft_policy *policy, const struct changes *changes, struct why *why)
{
    static const struct buf nothing;
    struct nft_settings chosen = *settings;
    struct tables tables = {.settings = &chosen, .policy = policy, .changes = changes};
    chosen.log_peers = settings->log_peers && !install->no_peers;
    chosen.drops = install->no_reject;
    int error = try_without(install, conn, &tables, why);
    if (error == -EMSGSIZE && chosen.kept && chosen.kept->len) { /* what holds now comes first */
        chosen.kept = &nothing;
        error = try_without(install, conn, &tables, why);
    }
    /* Not tried before: a transaction that fails takes the kernel 10 ms, which every start would wait for. */
    if (is_unknown(error) && !chosen.drops && lacks_reject(conn)) {
        chosen.drops = true;
        error = try_without(install, conn, &tables, why);
    }
    if (is_unknown(error) && chosen.log_peers && lacks_peers(conn)) {
        chosen.log_peers = false;
        error = try_without(install, conn, &tables, why);
        if (is_unknown(error) && !chosen.drops && lacks_reject(conn)) {
            chosen.drops = true;
            error = try_without(install, conn, &tables, why);
        }
    }
    if (!error) {
        install->no_peers |= settings->log_peers && !chosen.log_peers;
        install->no_reject = chosen.drops;
    }
    return error;
}

int install_devices(struct install *install, struct conn *conn, bool *ret_sent, struct why *why)
{
    *ret_sent = false;
    int error = -ENOENT;
    for (size_t i = 0; i < TRIES && error == -ENOENT && !install->no_frames; i++) {
        _cleanup_batch_ struct batch *batch = NULL;
        _cleanup_devices_ struct if_nameindex *devices = NULL;
        error = list_devices(&devices, why);
        if (error || devices_same(devices, install->devices))
            return error;
        if (batch_new(&batch))
            return why_set(why, -ENOMEM, "out of memory");
        batch_begin(batch);
        frames_plan(batch, devices);
        error = conn_commit(conn, batch, why);
        if (!error) {
            install_done(install);
            install->devices = take_pointer(devices);
            *ret_sent = true;
        }
        install->no_frames = error == -EOPNOTSUPP; /* found out at the first device only */
    }
    return install->no_frames ? 0 : error;
}

/* How a namespace is closed, the best way first. */
enum closing {
    CLOSED,        /* with frames, and refusals that say so */
    CLOSED_SILENT, /* this kernel has no `reject` */
    SHUT,          /* it lacks something else: what every nf_tables has */
    CLOSINGS,
};

static int try_closed(struct conn *conn, enum closing closing, bool frames, bool replaces, struct why *why)
{
    _cleanup_batch_ struct batch *batch = NULL;
    _cleanup_devices_ struct if_nameindex *devices = NULL;
    int error = frames ? list_devices(&devices, why) : 0;
    if (error)
        return error;
    if (batch_new(&batch))
        return why_set(why, -ENOMEM, "out of memory");
    batch_begin(batch);
    if (replaces)
        plan_remove(batch);
    if (closing == SHUT)
        plan_shut(batch);
    else
        plan_closed(batch, closing == CLOSED_SILENT);
    if (frames)
        frames_plan(batch, devices);
    return conn_commit(conn, batch, why);
}

int install_closed(struct conn *conn, bool replaces, struct why *why)
{
    int error = -ENOENT;
    for (enum closing closing = CLOSED; closing < CLOSINGS && is_unknown(error); closing++) {
        error = -ENOENT;
        for (size_t i = 0; i < TRIES && error == -ENOENT && !(i && conn_lacks(conn)); i++)
            error = try_closed(conn, closing, true, replaces, why);
        if (is_unknown(error))
            error = try_closed(conn, closing, false, replaces, why);
    }
    return error;
}

int install_nothing(struct conn *conn, struct why *why)
{
    _cleanup_batch_ struct batch *batch = NULL;
    if (batch_new(&batch))
        return why_set(why, -ENOMEM, "out of memory");
    batch_begin(batch);
    plan_remove(batch);
    frames_remove(batch);
    int error = conn_commit(conn, batch, why);
    if (error != -EOPNOTSUPP)
        return error;
    batch_begin(batch);
    plan_remove(batch);
    return conn_commit(conn, batch, why);
}

void install_done(struct install *install)
{
    devices_free(install->devices);
    install->devices = NULL;
}
