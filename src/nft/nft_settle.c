/* The part of nft.h that is about open flows. */
#include "base/cleanup.h"
#include "base/loop.h"
#include "nft/cut.h"
#include "nft/flows.h"
#include "nft/nft_policy.h"
#include "nft/nft_state.h"
#include "nft/sockets.h"

#include <string.h>

/* Makes sure that rules refuse what these flows send. */
static int refuse_flows(struct nft *nft, struct cut *cut, const struct buf *flows, struct why *why)
{
    const struct flow *flow = (const struct flow *)flows->data;
    int error = 0;
    for (size_t left = flows->len / sizeof(*flow); left > 0 && !error; left--, flow++) {
        struct ip_addr peer = sock_addr_ip(&flow->peer);
        error = cut_refuse(cut, &peer);
    }
    if (!error)
        error = changes_make_room(nft->changes);
    if (error || !changes_count(nft->changes)) {
        changes_roll_back(nft->changes);
        return error;
    }
    batch_begin(nft->batch);
    return nft_commit_changes(nft, nft->batch, cut->now_ns, why);
}

/* Connections from before conntrack looked at packets have no entry: only their sockets tell of them. */
static int end_untracked(struct nft *nft, struct cut *cut, struct why *why)
{
    _cleanup_buf_ struct buf flows = {0};
    _cleanup_close_ int fd = sockets_open();
    if (fd < 0)
        return why_set(why, fd, "cannot ask for sockets: %s", strerror(-fd));
    int error = sockets_find(fd, nft->settings->mark, cut_wants, cut, &flows, why);
    return error ? error : flows_end(nft->conn, &flows, why);
}

int nft_forget_dns(struct nft *nft, struct why *why)
{
    _cleanup_buf_ struct buf flows = {0};
    if (!nft->dns_looks)
        return 0;
    int error = flows_find_dns(nft->conn, &flows, why);
    if (!error)
        error = flows_forget(nft->conn, &flows, why);
    if (!error)
        nft->dns_looks--;
    return error;
}

int nft_settle(struct nft *nft, struct why *why)
{
    int error = nft->dns_looks == DNS_LOOKS ? nft_forget_dns(nft, why) : 0;
    if (error || !nft->settings->filter)
        return error;
    _cleanup_buf_ struct buf flows = {0};
    struct cut cut = {.settings = nft->settings,
                      .changes = nft->changes,
                      .before = nft->is_settled ? &nft->policy : &nft->settled,
                      .now = &nft->policy,
                      .now_ns = clock_monotonic_ns()};
    error = flows_find(nft->conn, cut_wants, &cut, &flows, why);
    if (!error)
        error = refuse_flows(nft, &cut, &flows, why);
    if (!error)
        error = flows_end(nft->conn, &flows, why);
    if (!error && nft->is_first)
        error = end_untracked(nft, &cut, why);
    if (error)
        return error; /* what was in force before is still known */
    nft_policy_done(&nft->settled);
    nft->settled = (struct nft_policy){0};
    nft->is_settled = true;
    nft->is_first = false;
    return 0;
}
