/* The part of nft.h that looks or acts once, without a `struct nft`. */
#include "nft/conn.h"
#include "nft/install.h"
#include "nft/kept.h"
#include "nft/nft.h"
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

int nft_recall_kept(struct buf *ret, struct why *why)
{
    _cleanup_conn_ struct conn *conn = NULL;
    int error = conn_open(&conn, why);
    return error ? error : kept_read(conn, ret, why);
}

int nft_remove(struct why *why)
{
    _cleanup_conn_ struct conn *conn = NULL;
    int error = conn_open(&conn, why);
    return error ? error : install_nothing(conn, why);
}

int nft_close_unless_guarded(bool audit_guards, struct why *why)
{
    _cleanup_conn_ struct conn *conn = NULL;
    bool replaces = false;
    int error = conn_open(&conn, why);
    if (!error && !audit_guards)
        error = restore_is_audit(conn, &replaces, why);
    if (!error)
        error = install_closed(conn, replaces, why);
    return error == -EEXIST ? 0 : error;
}
