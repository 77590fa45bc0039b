#include "nft/conn.h"

#include "nft/missing.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libnftnl/common.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdatomic.h>
#include <string.h>

#define SEND_OVERHEAD 32 /* what the kernel wants free in the send buffer beside the message */

struct conn {
    struct mnl_socket *socket;
    uint32_t seq; /* of the newest message sent */
    /* of the rule set after our newest transaction, if nobody else changes it; other threads read it */
    _Atomic uint32_t generation;
    uint32_t answered; /* the generation as the kernel said it last */
    size_t send_room;
    const char *lacks; /* see conn_lacks() */
    /* Below 32 KiB the kernel's larger answers are cut. */
    _Alignas(struct nlmsghdr) uint8_t answer[32768];
};

/* What the kernel said about the messages of one request. */
struct verdict {
    uint32_t first, acked; /* sequence numbers: of the first message, of the one that is acknowledged */
    int error;             /* the first one, negative */
    uint32_t failed;       /* the message with that error, counted from the first */
    size_t offset;         /* of what was wrong in it; 0: not said */
    bool is_acked;
    struct why *why;
};

/* What an extended acknowledgement (NETLINK_EXT_ACK) says: its text, or NULL, and where. */
static const char *explanation(const struct nlmsghdr *nlh, size_t *ret_offset)
{
    const struct nlmsgerr *error = mnl_nlmsg_get_payload(nlh);
    const char *text = NULL;
    if (!(nlh->nlmsg_flags & NLM_F_ACK_TLVS))
        return NULL;
    size_t at = sizeof(*error);
    if (!(nlh->nlmsg_flags & NLM_F_CAPPED))
        at += NLMSG_ALIGN(error->msg.nlmsg_len - NLMSG_HDRLEN);
    if (at > mnl_nlmsg_get_payload_len(nlh))
        return NULL;
    const struct nlattr *attr;
    mnl_attr_for_each(attr, nlh, at)
    {
        if (mnl_attr_get_type(attr) == NLMSGERR_ATTR_MSG && mnl_attr_validate(attr, MNL_TYPE_NUL_STRING) >= 0)
            text = mnl_attr_get_str(attr);
        if (mnl_attr_get_type(attr) == NLMSGERR_ATTR_OFFS && mnl_attr_validate(attr, MNL_TYPE_U32) >= 0)
            *ret_offset = mnl_attr_get_u32(attr);
    }
    return text;
}

static void read_answer(struct conn *conn, struct verdict *verdict, int len)
{
    const struct nlmsghdr *nlh = (const struct nlmsghdr *)conn->answer;
    for (; mnl_nlmsg_ok(nlh, len); nlh = mnl_nlmsg_next(nlh, &len)) {
        if (nlh->nlmsg_seq - verdict->first > conn->seq - verdict->first)
            continue; /* an answer to an earlier request */
        if (nlh->nlmsg_type == (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWGEN)) {
            const struct nlattr *attr;
            mnl_attr_for_each(attr, nlh, sizeof(struct nfgenmsg))
            {
                if (mnl_attr_get_type(attr) == NFTA_GEN_ID && mnl_attr_validate(attr, MNL_TYPE_U32) >= 0)
                    conn->answered = ntohl(mnl_attr_get_u32(attr));
            }
        }
        if (nlh->nlmsg_type != NLMSG_ERROR || nlh->nlmsg_len < NLMSG_LENGTH(sizeof(struct nlmsgerr)))
            continue;
        const struct nlmsgerr *error = mnl_nlmsg_get_payload(nlh);
        verdict->is_acked |= nlh->nlmsg_seq == verdict->acked;
        if (!error->error || verdict->error)
            continue;
        const char *text = explanation(nlh, &verdict->offset);
        verdict->failed = nlh->nlmsg_seq - verdict->first;
        verdict->error =
            why_set(verdict->why, error->error, "nf_tables, message %u of %u: %s%s%s", nlh->nlmsg_seq - verdict->first,
                    conn->seq - verdict->first, strerror(-error->error), text ? ": " : "", text ? text : "");
    }
}

/* The kernel answers while the request is being sent, in the order of the messages, with its verdict on the whole
 * (which bears the number of BEGIN) first: the acknowledgement asked for is the last thing to come. Being acknowledged
 * proves nothing by itself, since the good messages of a transaction that failed are acknowledged as well. */
static void read_verdict(struct conn *conn, struct verdict *verdict)
{
    while (!verdict->is_acked) {
        ssize_t len = mnl_socket_recvfrom(conn->socket, conn->answer, sizeof(conn->answer));
        if (len > 0)
            read_answer(conn, verdict, (int)len);
        else if (len < 0 && errno != EINTR && errno != ENOBUFS && errno != ENOSPC)
            return;
    }
}

/* Reads the generation of the rule set. -EPERM is the kernel's way to say that CAP_NET_ADMIN is missing. */
static int ask_generation(struct conn *conn, struct why *why)
{
    _Alignas(struct nlmsghdr) char request[64];
    struct nlmsghdr *nlh = nftnl_nlmsg_build_hdr(request, NFT_MSG_GETGEN, AF_UNSPEC, NLM_F_ACK, ++conn->seq);
    if (mnl_socket_sendto(conn->socket, nlh, nlh->nlmsg_len) < 0)
        return why_set(why, -errno, "cannot ask nf_tables: %s", strerror(errno));
    struct verdict verdict = {.first = conn->seq, .acked = conn->seq, .why = why};
    read_verdict(conn, &verdict);
    if (verdict.error)
        return verdict.error;
    return verdict.is_acked ? 0 : why_set(why, -ENOBUFS, "no answer from nf_tables");
}

int conn_open(struct conn **ret, struct why *why)
{
    _cleanup_conn_ struct conn *conn = calloc(1, sizeof(*conn));
    if (!conn)
        return why_set(why, -ENOMEM, "out of memory");
    conn->socket = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (!conn->socket || mnl_socket_bind(conn->socket, 0, MNL_SOCKET_AUTOPID) < 0)
        return why_set(why, -errno, "cannot open a netlink socket: %s%s", strerror(errno),
                       errno == EPROTONOSUPPORT || errno == EAFNOSUPPORT
                           ? ": this kernel has no netfilter (CONFIG_NETFILTER_NETLINK); gVisor has none"
                           : "");
    /* Errors without a copy of the message, but with the kernel's words. */
    int on = 1;
    mnl_socket_setsockopt(conn->socket, NETLINK_CAP_ACK, &on, sizeof(on));
    mnl_socket_setsockopt(conn->socket, NETLINK_EXT_ACK, &on, sizeof(on));
    int error = ask_generation(conn, why);
    if (error == -EPERM)
        return why_set(why, error, "CAP_NET_ADMIN is missing");
    if (error == -EINVAL || error == -EOPNOTSUPP) /* nobody takes the question */
        return why_set(why, error, "this kernel has no nf_tables: load nf_tables (CONFIG_NF_TABLES)");
    if (error)
        return error;
    conn->generation = conn->answered;
    *ret = take_pointer(conn);
    return 0;
}

void conn_free(struct conn *conn)
{
    if (!conn)
        return;
    if (conn->socket)
        mnl_socket_close(conn->socket);
    free(conn);
}

/* One transaction is one send, and that must fit the send buffer. Only the administrator of the initial user
 * namespace may exceed net.core.wmem_max. */
static int make_room(struct conn *conn, size_t len, struct why *why)
{
    int fd = mnl_socket_get_fd(conn->socket), want = (int)len + SEND_OVERHEAD, got = 0;
    if (len + SEND_OVERHEAD <= conn->send_room)
        return 0;
    if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &want, sizeof(want)))
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &want, sizeof(want));
    socklen_t size = sizeof(got);
    if (getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &got, &size))
        return why_set(why, -errno, "cannot size the netlink socket: %s", strerror(errno));
    conn->send_room = (size_t)got;
    if (len + SEND_OVERHEAD > conn->send_room)
        return why_set(why, -EMSGSIZE, "the change takes %zu bytes, net.core.wmem_max lets a socket send %zu", len,
                       conn->send_room);
    return 0;
}

/* The answer was lost (the kernel had no memory for it). The generation tells, unless others write rules as well: one
 * of theirs and a refusal of ours would look like a success. So the generation stays unaccounted for, and the next look
 * compares the table. */
static int verdict_from_generation(struct conn *conn, struct why *why)
{
    uint32_t before = conn->generation;
    if (ask_generation(conn, NULL) == 0) {
        if (conn->answered == before + 1)
            return 0;
        if (conn->answered == before)
            return why_set(why, -ENOMEM, "nf_tables refused the change without giving a reason");
    }
    return why_set(why, -ENOBUFS, "nf_tables: the kernel's verdict was lost");
}

/* The verdict names a message; what in it the kernel lacks, people can do something about. */
static int explain_refusal(struct conn *conn, const struct buf *bytes, const struct verdict *verdict, struct why *why)
{
    int left = (int)bytes->len;
    const struct nlmsghdr *nlh = (const struct nlmsghdr *)bytes->data;
    for (uint32_t i = 0; i < verdict->failed && mnl_nlmsg_ok(nlh, left); i++)
        nlh = mnl_nlmsg_next(nlh, &left);
    struct missing missing;
    if (!mnl_nlmsg_ok(nlh, left) || !missing_from(nlh, verdict->offset, verdict->error, &missing))
        return verdict->error;
    conn->lacks = missing.module;
    return why_set(why, verdict->error, "this kernel lacks the %s: load %s (%s)", missing.part, missing.module,
                   missing.config);
}

const char *conn_lacks(const struct conn *conn)
{
    return conn->lacks;
}

int conn_commit(struct conn *conn, struct batch *batch, struct why *why)
{
    struct verdict verdict = {.first = conn->seq + 1, .why = why};
    uint32_t acked;
    conn->lacks = NULL;
    if (batch_end(batch))
        return why_set(why, -ENOMEM, "out of memory");
    struct buf *bytes = batch_bytes(batch, &acked);
    verdict.acked = verdict.first + acked;
    int error = make_room(conn, bytes->len, why);
    if (error)
        return error;
    int left = (int)bytes->len;
    for (struct nlmsghdr *nlh = (struct nlmsghdr *)bytes->data; mnl_nlmsg_ok(nlh, left);
         nlh = mnl_nlmsg_next(nlh, &left))
        nlh->nlmsg_seq = ++conn->seq;
    if (mnl_socket_sendto(conn->socket, bytes->data, bytes->len) < 0)
        return why_set(why, -errno, "cannot send to nf_tables: %s", strerror(errno));
    read_verdict(conn, &verdict);
    if (verdict.error)
        return explain_refusal(conn, bytes, &verdict, why);
    if (!verdict.is_acked)
        return verdict_from_generation(conn, why);
    conn->generation++;
    return 0;
}

int conn_others_changed(struct conn *conn, bool *ret, uint32_t *ret_generation, struct why *why)
{
    int error = ask_generation(conn, why);
    if (error)
        return error;
    *ret = conn->answered != conn->generation;
    *ret_generation = conn->answered;
    return 0;
}

bool conn_is_behind(struct conn *asker, const struct conn *conn)
{
    /* In this order: what is made meanwhile looks like a change, never the other way round. */
    return ask_generation(asker, NULL) || asker->answered != atomic_load(&conn->generation);
}

void conn_accept_generation(struct conn *conn, uint32_t generation)
{
    conn->generation = generation;
}

/* What conn_ask() waits for and has seen. */
struct inquiry {
    uint32_t first, last; /* sequence numbers */
    int (*take)(void *ctx, const struct nlmsghdr *answer);
    void *ctx;
    uint16_t generation; /* the low half, as answers bear it */
    bool any, ended;
    int error;
};

static void read_reply(struct inquiry *inquiry, const struct nlmsghdr *nlh)
{
    int error = 0;
    if (nlh->nlmsg_type == NLMSG_ERROR || nlh->nlmsg_type == NLMSG_DONE) {
        inquiry->ended = nlh->nlmsg_seq == inquiry->last;
        if (nlh->nlmsg_len >= NLMSG_LENGTH(sizeof(int)))
            error = *(const int *)mnl_nlmsg_get_payload(nlh); /* the first member of nlmsgerr */
    } else if (nlh->nlmsg_len >= NLMSG_LENGTH(sizeof(struct nfgenmsg))) {
        uint16_t generation = ((const struct nfgenmsg *)mnl_nlmsg_get_payload(nlh))->res_id;
        if ((inquiry->any && generation != inquiry->generation) || nlh->nlmsg_flags & NLM_F_DUMP_INTR)
            error = -EINTR;
        else
            error = inquiry->take(inquiry->ctx, nlh);
        inquiry->generation = generation;
        inquiry->any = true;
    }
    if (!inquiry->error)
        inquiry->error = error;
}

int conn_ask(struct conn *conn, void *questions, size_t len, int (*take)(void *ctx, const struct nlmsghdr *answer),
             void *ctx, struct why *why)
{
    struct inquiry inquiry = {.first = conn->seq + 1, .take = take, .ctx = ctx};
    int left = (int)len;
    for (struct nlmsghdr *nlh = questions; mnl_nlmsg_ok(nlh, left); nlh = mnl_nlmsg_next(nlh, &left))
        nlh->nlmsg_seq = ++conn->seq;
    inquiry.last = conn->seq;
    if (mnl_socket_sendto(conn->socket, questions, len) < 0)
        return why_set(why, -errno, "cannot ask nf_tables: %s", strerror(errno));
    while (!inquiry.ended) {
        ssize_t n = mnl_socket_recvfrom(conn->socket, conn->answer, sizeof(conn->answer));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) /* the kernel answers while it is asked: nothing more will come */
            return why_set(why, -errno, "no answer from nf_tables: %s", strerror(errno));
        int rest = (int)n;
        for (const struct nlmsghdr *nlh = (const struct nlmsghdr *)conn->answer; mnl_nlmsg_ok(nlh, rest);
             nlh = mnl_nlmsg_next(nlh, &rest))
            if (nlh->nlmsg_seq - inquiry.first <= inquiry.last - inquiry.first)
                read_reply(&inquiry, nlh);
    }
    return inquiry.error ? why_set(why, inquiry.error, "nf_tables: %s", strerror(-inquiry.error)) : 0;
}
