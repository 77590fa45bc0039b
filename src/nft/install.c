#include "nft/install.h"

#include "base/loop.h"
#include "nft/devices.h"
#include "nft/frames.h"
#include "nft/guards.h"
#include "nft/older.h"
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
    bool can_guard = !(install->lacks & LACKS_FRAMES), guards = can_guard && !tables->settings->audit;
    int error = guards ? list_devices(&devices, why) : 0;
    if (error)
        return error;
    if (batch_new(&batch))
        return why_set(why, -ENOMEM, "out of memory");
    batch_begin(batch);
    bool gated = plan_install(batch, tables->settings, tables->policy, install->lacks);
    if (tables->settings->filter)
        changes_encode_all(tables->changes, batch, clock_monotonic_ns());
    if (tables->settings->log_peers)
        peer_memory_carry(conn, batch);
    if (tables->settings->filter && !tables->settings->audit)
        older_carry(conn, batch);
    if (guards)
        frames_plan(batch, devices, !tables->settings->filter);
    else if (can_guard)
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

/* Leaves out what hooks, keys and zones this kernel lacks. */
static int try_without(struct install *install, struct conn *conn, const struct tables *tables, struct why *why)
{
    unsigned lacks = install->lacks;
    int error = -ENOENT;
    for (size_t i = 0; i < TRIES && error == -ENOENT; i++)
        error = try_tables(install, conn, tables, why);
    /* The kernel does not say which of them it lacks. */
    for (unsigned without = 1; without < LACKS_SOCKETS && error == -EOPNOTSUPP; without++) {
        install->lacks = lacks | without;
        error = try_tables(install, conn, tables, why);
    }
    if (error)
        install->lacks = lacks;
    return error;
}

/* The kernel does not know something that it was sent. */
static bool is_unknown(int error)
{
    return error == -ENOENT || error == -EOPNOTSUPP || error == -EINVAL;
}

/* By a transaction that fails at its end, if not before, so that it changes nothing. */
static bool refuses(struct conn *conn, void (*plan)(struct batch *batch))
{
    _cleanup_batch_ struct batch *batch = NULL;
    if (batch_new(&batch))
        return false;
    batch_begin(batch);
    plan(batch);
    return is_unknown(conn_commit(conn, batch, NULL));
}

int install_tables(struct install *install, struct conn *conn, const struct nft_settings *settings,
                   const struct nft_policy *policy, const struct changes *changes, struct why *why)
{
    struct nft_settings chosen = *settings;
    struct tables tables = {.settings = &chosen, .policy = policy, .changes = changes};
    chosen.log_peers = settings->log_peers && !install->no_peers;
    int error = try_without(install, conn, &tables, why);
    if (error == -EMSGSIZE && chosen.kept && chosen.kept->len) { /* what holds now comes first */
        static const struct buf nothing;
        chosen.kept = &nothing;
        error = try_without(install, conn, &tables, why);
    }
    /* Not tried before: a transaction that fails takes the kernel 10 ms, which every start would wait for. */
    if (!is_unknown(error))
        return error;
    unsigned lacks = install->lacks;
    if (!settings->audit && !(lacks & LACKS_SOCKETS) && refuses(conn, plan_sockets_trial))
        install->lacks |= LACKS_SOCKETS;
    if (chosen.log_peers)
        chosen.log_peers = !refuses(conn, plan_peers_trial);
    bool no_peers = settings->log_peers && !chosen.log_peers;
    if (install->lacks == lacks && no_peers == install->no_peers)
        return error;
    error = try_without(install, conn, &tables, why);
    if (error)
        install->lacks = lacks;
    else
        install->no_peers = no_peers;
    return error;
}

int install_devices(struct install *install, struct conn *conn, const struct nft_settings *settings, bool *ret_sent,
                    struct why *why)
{
    *ret_sent = false;
    int error = -ENOENT;
    for (size_t i = 0; i < TRIES && error == -ENOENT && !(install->lacks & LACKS_FRAMES); i++) {
        _cleanup_batch_ struct batch *batch = NULL;
        _cleanup_devices_ struct if_nameindex *devices = NULL;
        error = list_devices(&devices, why);
        if (error || devices_same(devices, install->devices))
            return error;
        if (batch_new(&batch))
            return why_set(why, -ENOMEM, "out of memory");
        batch_begin(batch);
        frames_plan(batch, devices, !settings->filter);
        error = conn_commit(conn, batch, why);
        if (!error) {
            install_done(install);
            install->devices = take_pointer(devices);
            *ret_sent = true;
        }
        if (error == -EOPNOTSUPP) /* found out at the first device only */
            install->lacks |= LACKS_FRAMES;
    }
    return install->lacks & LACKS_FRAMES ? 0 : error;
}

static int try_closed(struct conn *conn, struct batch *batch, bool replaces, unsigned lacks, struct why *why)
{
    _cleanup_devices_ struct if_nameindex *devices = NULL;
    int error = lacks & LACKS_FRAMES ? 0 : list_devices(&devices, why);
    if (error)
        return error;
    batch_begin(batch);
    if (replaces)
        plan_remove(batch);
    plan_closed(batch, lacks);
    if (devices)
        frames_plan(batch, devices, false);
    return conn_commit(conn, batch, why);
}

int install_closed(struct conn *conn, bool replaces, struct why *why)
{
    static const unsigned lacks[] = {0, LACKS_FRAMES, LACKS_ROUTES | LACKS_FRAMES};
    _cleanup_batch_ struct batch *batch = NULL;
    int error = -EOPNOTSUPP;
    if (batch_new(&batch))
        return why_set(why, -ENOMEM, "out of memory");
    for (size_t i = 0; i < sizeof(lacks) / sizeof(lacks[0]) && error == -EOPNOTSUPP; i++) {
        error = -ENOENT;
        for (size_t k = 0; k < TRIES && error == -ENOENT; k++)
            error = try_closed(conn, batch, replaces, lacks[i], why);
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
