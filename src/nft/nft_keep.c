/* The part of nft.h that looks after the table. */
#include "base/loop.h"
#include "nft/ended.h"
#include "nft/nft_state.h"
#include "nft/snapshot.h"
#include "nft/verify.h"

#include <errno.h>
#include <time.h>

/* Listing takes 1 µs for an element, and the loop waits. With more, putting all of them in place anew is no slower, and
 * sure. */
#define COMPARED_MAX 32768
/* Others that write rules all the time may cost us one part in so many. */
#define LOOK_SHARE 10

void nft_remember_table(struct nft *nft)
{
    bool changed = true;
    uint32_t generation;
    buf_clear(&nft->snapshot);
    /* Asked afterwards: what is unchanged then is what we made. */
    if (snapshot_take(nft->conn, &nft->snapshot, NULL) || conn_others_changed(nft->conn, &changed, &generation, NULL) ||
        changed)
        buf_clear(&nft->snapshot);
}

/* Follows up on leases that ended, and on addresses that were dropped. */
static int tidy(struct nft *nft)
{
    uint64_t now_ns = clock_monotonic_ns();
    int error = ended_settle(nft->conn, nft->changes, ENDED_PER_CHANGE, now_ns);
    if (error) {
        changes_roll_back(nft->changes);
        return error;
    }
    batch_begin(nft->batch);
    if (changes_encode_again(nft->changes, nft->batch) + changes_count(nft->changes) > 0)
        error = nft_commit_changes(nft, nft->batch, now_ns, NULL);
    if (!error)
        changes_again_done(nft->changes);
    return error;
}

/* Compares the table with what we made. 0 also when that cannot be told now: the next look will. */
static int compare(struct nft *nft, uint32_t generation, struct why *why)
{
    _cleanup_buf_ struct buf now = {0};
    int error = snapshot_take(nft->conn, &now, why);
    if (!error)
        nft->damaged = snapshot_differs(&nft->snapshot, &now, &nft->harm);
    if (!error && !nft->damaged)
        error = verify_elements(nft->conn, nft->settings, &nft->policy, nft->changes, clock_monotonic_ns(),
                                &nft->damaged, &nft->harm, why);
    if (error)
        return error == -EINTR ? 0 : error;
    if (!nft->damaged) /* what comes after this generation is looked at again */
        conn_accept_generation(nft->conn, generation);
    return 0;
}

/* What this thread has worked so far: on a busy machine a look takes long and costs little. */
static uint64_t worked_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static void rest(struct nft *nft, uint64_t start_ns)
{
    nft->look_after_ns = clock_monotonic_ns() + LOOK_SHARE * (worked_ns() - start_ns);
}

/* Somebody wrote rules: ours? */
static int look(struct nft *nft, uint32_t generation, struct why *why)
{
    int error = 0;
    if (clock_monotonic_ns() < nft->look_after_ns)
        return 0;
    uint64_t start_ns = worked_ns();
    nft->harm.text[0] = '\0';
    if (nft->snapshot.len && verify_size(nft->settings, &nft->policy, nft->changes) <= COMPARED_MAX)
        error = compare(nft, generation, why);
    else
        nft->damaged = true;
    rest(nft, start_ns);
    return error;
}

static int put_in_place(struct nft *nft, uint32_t generation, bool *ret_repaired, struct why *why)
{
    uint64_t start_ns = worked_ns();
    conn_accept_generation(nft->conn, generation); /* whatever it was is gone with the old table */
    int error = nft_install(nft, &nft->policy, why);
    if (error)
        return error;
    nft->dns_looks = nft->no_flows ? 0 : DNS_LOOKS;
    *ret_repaired = nft->harm.text[0] != '\0';
    if (*ret_repaired) {
        why_set(why, 0, "%s", nft->harm.text);
        metric_add(nft->settings->metrics, METRIC_NFT_REPAIRS, 1);
    }
    rest(nft, start_ns);
    return 0;
}

static int guard_devices(struct nft *nft, struct why *why)
{
    bool sent;
    int error = install_devices(&nft->install, nft->conn, nft->settings, &sent, why);
    if (error || sent)
        metric_add(nft->settings->metrics, error ? METRIC_NFT_ERRORS : METRIC_NFT_UPDATES, 1);
    if (sent)
        nft_remember_table(nft);
    return error;
}

bool nft_is_behind(const struct nft *nft)
{
    return conn_is_behind(nft->asker, nft->conn);
}

void nft_look_at_once(struct nft *nft)
{
    nft->look_after_ns = 0;
}

int nft_keep(struct nft *nft, bool *ret_repaired, struct why *why)
{
    bool changed;
    uint32_t generation;
    int error = conn_others_changed(nft->conn, &changed, &generation, why);
    if (!error && changed && !nft->damaged)
        error = look(nft, generation, why);
    if (error)
        return error;
    if (!nft->damaged && nft->settings->filter && tidy(nft)) {
        nft->damaged = true; /* the kernel does not know what we know */
        nft->harm.text[0] = '\0';
    }
    *ret_repaired = false;
    if (nft->damaged)
        error = put_in_place(nft, generation, ret_repaired, why);
    else if (!nft->settings->audit)
        error = guard_devices(nft, why);
    if (!error)
        nft_look_for_dns(nft);
    return error;
}
