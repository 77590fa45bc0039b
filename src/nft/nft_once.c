/* The part of nft.h that looks or acts once, without a `struct nft`. */
#include "nft/conn.h"
#include "nft/nft.h"
#include "nft/plan.h"
#include "nft/restore.h"

#include <errno.h>

int nft_recall_upstreams(struct sock_addr *ret, size_t max, size_t *ret_n, struct why *why)
{
    _cleanup_conn_ struct conn *conn = NULL;
    int error = conn_open(&conn, why);
    return error ? error : restore_upstreams(conn, ret, max, ret_n, why);
}

int nft_recall_search(struct search_text *ret, bool *ret_found, struct why *why)
{
    _cleanup_conn_ struct conn *conn = NULL;
    int error = conn_open(&conn, why);
    return error ? error : restore_search(conn, ret, ret_found, why);
}

/* One transaction on a socket of its own. */
static int commit_once(void (*plan)(struct batch *batch), struct why *why)
{
    _cleanup_conn_ struct conn *conn = NULL;
    _cleanup_batch_ struct batch *batch = NULL;
    int error = conn_open(&conn, why);
    if (error)
        return error;
    if (batch_new(&batch))
        return why_set(why, -ENOMEM, "out of memory");
    batch_begin(batch);
    plan(batch);
    if (batch_end(batch))
        return why_set(why, -ENOMEM, "out of memory");
    return conn_commit(conn, batch, why);
}

int nft_remove(struct why *why)
{
    return commit_once(plan_remove, why);
}

int nft_close_if_absent(struct why *why)
{
    int error = commit_once(plan_closed, why);
    return error == -EEXIST ? 0 : error;
}
