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
    for (size_t i = 0; i < TRIES && error == -ENOENT && !(i && conn_lacks(conn)); i++)
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
static bool lacks_peers(struct conn *conn)
{
    _cleanup_batch_ struct batch *batch = NULL;
    if (batch_new(&batch))
        return false;
    batch_begin(batch);
    plan_peers_trial(batch);
    return is_unknown(conn_commit(conn, batch, NULL));
}

/* Whether the newest transaction failed for a module that there is a way without, and that was not known before. */
static bool learn_lack(struct install *install, const struct conn *conn)
{
    static const struct {
        const char *module;
        unsigned lacks;
    } spare[] = {{"nft_reject_inet", LACKS_REJECT}, {"nft_socket", LACKS_SOCKETS}};
    unsigned before = install->lacks;
    for (size_t i = 0; i < sizeof(spare) / sizeof(spare[0]); i++)
        if (conn_lacks(conn) && !strcmp(conn_lacks(conn), spare[i].module))
            install->lacks |= spare[i].lacks;
    return install->lacks != before;
}

int install_tables(struct install *install, struct conn *conn, const struct nft_settings *settings,
                   const struct nft_policy *policy, const struct changes *changes, struct why *why)
{
    static const struct buf nothing;
    struct nft_settings chosen = *settings;
    struct tables tables = {.settings = &chosen, .policy = policy, .changes = changes};
    unsigned lacks = install->lacks;
    int error = -EOPNOTSUPP;
    bool again = true;
    chosen.log_peers = settings->log_peers && !install->no_peers;
    while (again) {
        chosen.drops = install->lacks & LACKS_REJECT;
        error = try_without(install, conn, &tables, why);
        again = false;
        if (error == -EMSGSIZE && chosen.kept && chosen.kept->len) { /* what holds now comes first */
            chosen.kept = &nothing;
            again = true;
        } else if (is_unknown(error)) {
            /* Not tried before: a transaction that fails takes the kernel 10 ms, which every start would wait for. */
            again = learn_lack(install, conn);
            if (!again && chosen.log_peers && lacks_peers(conn)) {
                chosen.log_peers = false;
                again = true;
            }
        }
    }
    if (error)
        install->lacks = lacks;
    else
        install->no_peers |= settings->log_peers && !chosen.log_peers;
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

#define SHUT (1u << 31) /* with nothing but what every nf_tables has */

static int try_closed(struct conn *conn, unsigned lacks, bool replaces, struct why *why)
{
    _cleanup_batch_ struct batch *batch = NULL;
    _cleanup_devices_ struct if_nameindex *devices = NULL;
    int error = lacks & LACKS_FRAMES ? 0 : list_devices(&devices, why);
    if (error)
        return error;
    if (batch_new(&batch))
        return why_set(why, -ENOMEM, "out of memory");
    batch_begin(batch);
    if (replaces)
        plan_remove(batch);
    if (lacks & SHUT)
        plan_shut(batch);
    else
        plan_closed(batch, lacks);
    if (devices)
        frames_plan(batch, devices, false);
    return conn_commit(conn, batch, why);
}

int install_closed(struct conn *conn, bool replaces, struct why *why)
{
    static const unsigned ways[] = {
        /* the best first */
        0,
        LACKS_FRAMES,
        LACKS_FRAMES | LACKS_ROUTES,
        LACKS_REJECT,
        LACKS_REJECT | LACKS_FRAMES,
        LACKS_REJECT | LACKS_FRAMES | LACKS_ROUTES,
        SHUT,
        SHUT | LACKS_FRAMES,
    };
    int error = -ENOENT;
    for (size_t way = 0; way < sizeof(ways) / sizeof(ways[0]) && is_unknown(error); way++) {
        error = -ENOENT;
        for (size_t i = 0; i < TRIES && error == -ENOENT && !(i && conn_lacks(conn)); i++)
            error = try_closed(conn, ways[way], replaces, why);
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
